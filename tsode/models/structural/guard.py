"""Guard for long leads: members whose bands grow beyond reason lose their weight there."""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

from tsode.likelihoods.normal_mixture import NormalMixture
from tsode.models.structural.member import ChannelFit

__all__ = ["guarded", "lead_of"]

WIDEST = 4.0  # ranges of the data that a band of 90 % may span, and as many more for each span of the data ahead
GONE = 4.0  # times the widest, from where on a member has no weight; it fades so slowly that quantiles do not jump
NO_WEIGHT = -1e3


def guarded(fit: ChannelFit, params: Tensor, lead: Tensor) -> Tensor:
    """Parameters of a mixture over the draws of all members (... 3d), members that are too wide without weight.

    The width is that of a member's band of 90 % in the data's own units. The narrowest member always stays.

    Parameters
    ----------
    params : Tensor[... 3d]
        On the structures' scale.
    lead : Tensor[...]
        Time since the last event, in model time; infinite where nothing is known and nothing is to be judged.
    """
    if len(fit.members) < 2 or not fit.reach:
        return params
    location, log_scale, log_weight = params.chunk(3, dim=-1)
    widest = WIDEST * fit.reach * (1.0 + lead / fit.span)
    score = float(torch.special.ndtri(torch.tensor(0.95, dtype=torch.float64)))
    low, high = (_in_units(fit, location + side * score * log_scale.exp()) for side in (-1.0, 1.0))
    is_suspect = high.amax(dim=-1) - low.amin(dim=-1) > widest  # a mixture's band lies within its components'
    if not is_suspect.any():
        return params
    sizes = [len(member.z) for member in fit.members]
    members = zip(*(part[is_suspect].split(sizes, dim=-1) for part in (location, log_scale, log_weight)))
    width = torch.stack([_width(fit, torch.cat(member, dim=-1)) for member in members], dim=-1)
    most = torch.maximum(widest[is_suspect], width.amin(dim=-1))[..., None]
    faded = torch.where(width <= most, 0.0, (width / most).log() / log(GONE))
    if not faded.any():
        return params
    left = (1.0 - faded).clamp(min=0.0) ** 3
    log_left = torch.where(left > 0.0, left.log(), NO_WEIGHT).repeat_interleave(torch.tensor(sizes), dim=-1)
    log_weight = log_weight.clone()
    log_weight[is_suspect] += log_left
    return torch.cat([location, log_scale, log_weight], dim=-1)


def lead_of(times: Tensor, query_times: Tensor, index: Tensor) -> Tensor:
    """Time since the last of the first `index` events (b n) before each query (b m); infinite where there is none."""
    if not times.shape[1]:
        return torch.full_like(query_times, torch.inf)
    last = times.gather(1, (index - 1).clamp(min=0))
    return torch.where(index > 0, query_times - last, torch.inf)


def _width(fit: ChannelFit, params: Tensor) -> Tensor:
    """Of the bands of 90 % of mixtures (k 3d), in the data's units."""
    ends = params.new_tensor([0.05, 0.95])
    return _in_units(fit, NormalMixture(params.shape[-1] // 3).quantile(params[:, None], ends)).diff(dim=-1)[:, 0]


def _in_units(fit: ChannelFit, x: Tensor) -> Tensor:
    return fit.transform.inverse(fit.shift + fit.spread * x)

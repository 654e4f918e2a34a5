"""Logarithms of what levels are proportional to: doses that fade, and positive constants."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsode.core.batch import IrregularBatch
from tsode.models.direct.past import decayed_sums
from tsode.models.direct.scales import Scales

__all__ = ["N_RESIDENCE", "log_covariates", "log_doses"]

N_RESIDENCE = 6
TRACE = 0.01  # of a mean dose, which is 1: what is left of less counts as nothing


def log_doses(batch: IrregularBatch, query_times: Tensor, side: str, scales: Scales) -> Tensor:
    """Logarithms of what is left of doses, if each fades as ``exp(-age / residence)``: Tensor[b m c 3q].

    If a level is proportional to it, by a factor of the series, its logarithm is a sum of these and a constant. First
    those at the query; then how they differ from those at the last value of each channel; then how their mean over all
    values of the channel differs from these. Where a channel was not seen the latter two are 0.
    """
    (b, m), c = query_times.shape, batch.values.shape[2]
    if batch.inputs is None or not batch.n_events:
        return query_times.new_zeros(b, m, c, 0)
    gaps = batch.times.diff(dim=1, prepend=batch.times[:, :1]).clamp(min=0.0)
    sums = decayed_sums(gaps, batch.inputs.double(), scales.residence)  # b n e k
    count = torch.searchsorted(batch.times.contiguous(), query_times.contiguous(), right=side == "right")
    index = (count - 1).clamp(min=0)
    elapsed = (query_times - batch.times.gather(1, index)).clamp(min=0.0)
    q = sums[0, 0].numel()
    found = sums.flatten(2).gather(1, index[..., None].expand(-1, -1, q)).unflatten(2, sums.shape[2:])
    left = found * torch.exp(-elapsed[..., None, None] / scales.residence)
    now = _log(torch.where((count > 0)[..., None, None], left, 0.0)).flatten(2)[:, :, None].expand(-1, -1, c, -1)
    # an observation comes before the doses of its time
    at_events = _log(sums).flatten(2)[:, :, None] * batch.mask[..., None]  # b n c q
    place = torch.arange(batch.n_events, device=sums.device)[:, None].expand(-1, c) + 1
    latest = nn.functional.pad((batch.mask * place).cummax(dim=1).values, (0, 0, 1, 0))
    at_last = latest.gather(1, count[..., None].expand(-1, -1, c))
    number = batch.mask.cumsum(dim=1)
    means = at_events.cumsum(dim=1) / number.clamp(min=1)[..., None]
    where = (at_last - 1).clamp(min=0)[..., None].expand(-1, -1, -1, q)
    is_seen = (at_last > 0)[..., None]
    then, mean = at_events.gather(1, where), means.gather(1, where)
    return torch.cat([now, torch.where(is_seen, now - then, 0.0), torch.where(is_seen, mean - then, 0.0)], dim=-1)


def log_covariates(now: Tensor, scales: Scales) -> Tensor:
    """Logarithms of the covariates that are positive numbers, and 0 for others: Tensor[r f]."""
    return torch.maximum(1.0 + scales.per_unit * now, scales.least).log()


def _log(amounts: Tensor) -> Tensor:
    return (amounts.clamp(min=0.0) + TRACE).log()

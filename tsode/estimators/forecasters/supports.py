"""Parameter ``support`` of the forecasters that learn: what values a channel may have, and the scale it is learned on."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tsode._registry import lookup
from tsode.core.timeline import Timeline
from tsode.core.transforms import SUPPORTS, Transform, choose_transforms
from tsode.errors import DataError, ParameterError
from tsode.estimators.parameters import Check
from tsode.frames.panel import Panel
from tsode.frames.scaling import ChannelScaler, fit_scaler
from tsode.frames.supports import SupportScaler, check_supports, fit_support_scaler
from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.supported import SupportedMixture
from tsode.training.support_choice import is_better, likeliest, scores_of_scales

__all__ = ["HasSupport", "check_support", "fit_channel_scaler", "in_units", "scale_names"]

Ends = tuple[float, float]

NAMED: dict[str, Ends] = {"real": (-math.inf, math.inf), "positive": (0.0, math.inf), "unit": (0.0, 1.0)}
AUTO = "auto"


def check_support(name: str, value: Any, default: Any) -> None:
    """Raise a ParameterError unless this is a support, or a dict of channels to supports."""
    for one in value.values() if isinstance(value, Mapping) else [value]:
        _ends(one, name)


@dataclass(kw_only=True, eq=False, repr=False)
class HasSupport:
    """Parameter ``support`` of a forecaster, and the scales that fit has found by it."""

    support: Any = "real"

    checks: ClassVar[dict[str, Check]] = {"support": check_support}

    @property
    def transforms_(self) -> dict[Hashable, str]:
        """Scale on which each channel is modelled: "identity", "sqrt", "log" or "logit"."""
        forecaster: Any = self
        forecaster._check_fitted()
        return dict(zip(forecaster.channels_, scale_names(forecaster.reader_.scaler, len(forecaster.channels_))))


def fit_channel_scaler(
    panel: Panel,
    method: str,
    support: Any,
    past: Sequence[Hashable],
    timeline: Timeline,
    horizon: Any,
) -> tuple[ChannelScaler, Panel]:
    """Scaler of all channels, and the panel on the scales that it has found for them, before it is scaled.

    With "auto" a channel of positive values may be taken by its root or its logarithm, and one of shares by its logit,
    but only where `tsode.training.support_choice` finds forecasts better there; never where a value is at an end.

    Parameters
    ----------
    panel : Panel
        Past covariates last.
    method
        See `tsode.frames.scaling.fit_scaler`.
    support
        As in `JumpODEForecaster`.
    past : list of label
        Channels that are not forecast, and are taken as they are unless a dict names them.
    timeline : Timeline
    horizon : duration
        How far ahead forecasts will be asked.

    Raises
    ------
    DataError
        If a value lies outside of the support that was given, or a dict names a channel that is not there.
    """
    wanted = _wanted(support, panel.channels, past)
    ends = [NAMED["real"] if one == AUTO else one for one in wanted]
    check_supports(panel, *map(np.array, zip(*ends)), [False] * len(ends))
    times = [timeline.to_model(own) for own in panel.times] if any(one != NAMED["real"] for one in wanted) else []
    reach = timeline.duration(horizon)
    transforms = [Transform.identity() for _ in wanted]
    for c, one in enumerate(wanted):
        if one == NAMED["real"]:
            continue
        columns = [(t[seen], v[seen, c]) for t, v in zip(times, panel.values) for seen in [~np.isnan(v[:, c])]]
        if one == AUTO:
            ends[c], transforms[c] = _find(columns, reach)
        else:
            transforms[c] = _given(columns, ends[c], reach, panel.channels[c])
    if all(bool(transform.is_identity) for transform in transforms):
        return fit_scaler(panel, method), panel
    low, high = map(np.array, zip(*ends))
    return fit_support_scaler(panel, method, low, high, transforms, [one == AUTO for one in wanted])


def in_units(scaler: ChannelScaler, family: Likelihood, params: Tensor) -> tuple[Likelihood, Tensor]:
    """Distributions of the data in their own units, of those (n c p) of the first channels on the model's scale."""
    n = params.shape[1]
    shift, scale = (torch.from_numpy(np.array(part[:n])) for part in (scaler.shift, scaler.scale))
    params = family.affine(params, shift, scale)
    if not isinstance(scaler, SupportScaler) or scaler.is_plain[:n].all():
        return family, params
    low, high = (torch.from_numpy(np.array(part[:n])) for part in (scaler.low, scaler.high))
    return SupportedMixture.push(family, params, scaler.maps[:n], low, high)


def scale_names(scaler: ChannelScaler, n: int) -> list[str]:
    """Names of the scales on which the first `n` channels are modelled: "identity", "sqrt", "log" or "logit"."""
    if not isinstance(scaler, SupportScaler):
        return ["identity"] * n
    maps = scaler.maps[:n]
    powers = ["log" if lam == 0.0 else "sqrt" for lam in maps.lam.tolist()]
    kinds = zip(maps.is_identity.tolist(), maps.is_box_cox.tolist(), powers)
    return ["identity" if is_plain else power if is_power else "logit" for is_plain, is_power, power in kinds]


def _wanted(support: Any, channels: Sequence[Hashable], past: Sequence[Hashable]) -> list[Ends | str]:
    """Ends of the support of each channel, or "auto"."""
    if not isinstance(support, Mapping):
        return [NAMED["real"] if name in past else _ends(support) for name in channels]
    unknown = [name for name in support if name not in channels]
    if unknown:
        raise DataError(f"support= names the channel {unknown[0]!r}, but the channels are {list(channels)}.")
    return [_ends(support.get(name, "real")) for name in channels]


def _ends(value: Any, name: str = "support") -> Ends | str:
    """Ends of a support, or "auto"."""
    if isinstance(value, str):
        lookup(dict.fromkeys(SUPPORTS), value, name)
        return NAMED.get(value, AUTO)
    try:
        low, high = (end if math.isinf(end) else end for end in map(float, value))
        is_right = low < high and not (math.isinf(low) and high < math.inf)
    except (TypeError, ValueError):
        is_right = False
    if not is_right:
        raise ParameterError(
            f"{name} must be one of {', '.join(map(repr, SUPPORTS))}, a pair (low, high) of numbers, or a dict of "
            f"channels to these, but is {value!r}: try {name}='positive' or {name}=(0, 100)."
        )
    return low, high


def _given(columns: Sequence[tuple[np.ndarray, np.ndarray]], ends: Ends, reach: float, channel: Hashable) -> Transform:
    """Map of a channel whose support is known: of a positive one, by the likelier of root and logarithm."""
    low, high = ends
    width = high - low if high < math.inf else 1.0
    within = [(t, (v - low) / width) for t, v in columns]
    pooled = np.concatenate([v for _, v in within])
    candidates = choose_transforms(pooled, "unit" if high < math.inf else "positive", channel)
    if len(candidates) == 1:
        return next(iter(candidates.values()))
    return candidates[likeliest(scores_of_scales(within, candidates, reach), "log")]


def _find(columns: Sequence[tuple[np.ndarray, np.ndarray]], reach: float) -> tuple[Ends, Transform]:
    """Support and map of a channel of which nothing was said."""
    pooled, plain = np.concatenate([v for _, v in columns]), Transform.identity()
    if not (pooled > 0.0).all():
        return NAMED["real"], plain
    offered = {"identity": plain, "sqrt": Transform.box_cox(0.5), "log": Transform.box_cox(0.0)}
    if (pooled < 1.0).all():
        offered["logit"] = Transform.logit()
    scores = scores_of_scales(columns, offered, reach)
    better = {name: own for name, own in scores.items() if is_better(own, scores["identity"])}
    name = likeliest(better, "identity")
    ends = NAMED["unit" if name == "logit" else "real" if name == "identity" else "positive"]
    return ends, offered[name]

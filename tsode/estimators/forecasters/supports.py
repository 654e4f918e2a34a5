"""Parameter ``support`` of forecasters that learn: what values a channel may have, and on which scale it is learned."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tsode._registry import class_of, lookup, name_of
from tsode.core.timeline import Timeline
from tsode.core.transforms import SUPPORTS, Transform, choose_transforms
from tsode.errors import DataError, ParameterError
from tsode.estimators.parameters import Check
from tsode.frames.panel import Panel
from tsode.frames.scaling import ChannelScaler, fit_scaler
from tsode.frames.supports import Supports, SupportScaler, check_supports, fit_support_scaler
from tsode.likelihoods import LIKELIHOODS
from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.held_knots import HeldKnots
from tsode.likelihoods.quantile_knots import QuantileKnots
from tsode.likelihoods.supported import OF_NORMALS, SupportedMixture
from tsode.training.support_choice import is_better, likeliest, scores_of_scales

__all__ = ["HasSupport", "check_law", "check_support", "ends_of", "fit_scales", "in_logarithms", "in_units"]

Ends = tuple[float, float]
Column = tuple[np.ndarray, np.ndarray]

REAL, POSITIVE, UNIT = (-math.inf, math.inf), (0.0, math.inf), (0.0, 1.0)
NAMED: dict[str, Ends] = {"real": REAL, "positive": POSITIVE, "unit": UNIT}
SCALES: dict[str, Ends] = {"identity": REAL, "sqrt": POSITIVE, "log": POSITIVE, "logit": UNIT}


def check_support(name: str, value: Any, default: Any) -> None:
    """Raise a ParameterError unless this is a support, or a dict of channels to supports."""
    for one in value.values() if isinstance(value, Mapping) else [value]:
        _ends(one, name)


def check_law(likelihood: Any, support: Any) -> None:
    """Raise a ParameterError if what a likelihood is called has no moments on the scales of a support."""
    given = list(support.values()) if isinstance(support, Mapping) else [support]
    if all(_ends(one) == REAL for one in given):
        return
    cls = type(likelihood) if isinstance(likelihood, Likelihood) else class_of(LIKELIHOODS, likelihood, "likelihood")
    if cls not in OF_NORMALS:
        raise ParameterError(
            f"likelihood={name_of(likelihood)!r} has no mean once its logarithm is undone: with support={support!r} "
            "take 'normal_mixture' or 'normal'."
        )


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
        scaler, channels = forecaster.reader_.scaler, forecaster.channels_
        if not isinstance(scaler, SupportScaler):
            return dict.fromkeys(channels, "identity")
        return {name: scaler.maps[c].name for c, name in enumerate(channels)}


def fit_scales(
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
    if all(one == REAL for one in wanted):
        return fit_scaler(panel, method), panel
    guessed = [one is None for one in wanted]
    ends = [REAL if one is None else one for one in wanted]
    check_supports(panel, _supports(ends, guessed))
    times, reach = [timeline.to_model(own) for own in panel.times], timeline.duration(horizon)
    maps = [Transform.identity() for _ in ends]
    for c, one in enumerate(wanted):
        seen = [(t[rows], v[rows, c]) for t, v in zip(times, panel.values) for rows in [~np.isnan(v[:, c])]]
        if one is None:
            ends[c], maps[c] = _find(seen, reach)
        elif one != REAL:
            maps[c] = _map_of(seen, one, reach, panel.channels[c])
    if all(one == REAL for one in ends):
        return fit_scaler(panel, method), panel
    return fit_support_scaler(panel, method, _supports(ends, guessed), maps)


def in_logarithms(panel: Panel, settings: Any, scaler: ChannelScaler, which: np.ndarray) -> ChannelScaler | None:
    """Scaler like this one, save that the channels of `which` are taken by their logarithm, if they have one.

    Those are the channels of positive values that `settings` does not give another support. None where there is none
    that is on another scale now.
    """
    n, pooled = panel.n_channels, np.concatenate(list(panel.values))
    ends, guessed, maps = [REAL] * n, [True] * n, [Transform.identity() for _ in range(n)]
    if isinstance(scaler, SupportScaler):
        held = scaler.supports
        ends, guessed = list(zip(held.low.tolist(), held.high.tolist())), held.guessed.tolist()
        maps = [scaler.maps[c] for c in range(n)]
    wanted, has_changed = _wanted(settings.support, panel.channels, settings.past), False
    for c, one in enumerate(wanted):
        has_logarithm = (one is None or one == POSITIVE) and not bool((pooled[:, c] <= 0.0).any())
        if which[c] and has_logarithm and maps[c].name != "log":
            ends[c], guessed[c], maps[c], has_changed = POSITIVE, one is None, Transform.box_cox(0.0), True
    if not has_changed:
        return None
    return fit_support_scaler(panel, settings.scale, _supports(ends, guessed), maps)[0]


def in_units(scaler: ChannelScaler, family: Likelihood, params: Tensor) -> tuple[Likelihood, Tensor]:
    """Distributions of the data in their own units, of those (n c p) of the first channels on the model's scale."""
    n = params.shape[1]
    if isinstance(family, QuantileKnots) and isinstance(scaler, SupportScaler):
        values = scaler.first(n).unscale(family.knots(params).movedim(-1, 0))
        low, high, _ = scaler.supports.first(n)
        return HeldKnots.hold(family, values.movedim(0, -1), torch.from_numpy(low), torch.from_numpy(high))
    shift, scale = (torch.from_numpy(np.array(part[:n])) for part in (scaler.shift, scaler.scale))
    params = family.affine(params, shift, scale)
    if not isinstance(scaler, SupportScaler) or bool(scaler.maps[:n].is_identity.all()):
        return family, params
    low, high, _ = scaler.supports.first(n)
    return SupportedMixture.push(family, params, scaler.maps[:n], torch.from_numpy(low), torch.from_numpy(high))


def ends_of(forecaster: Any) -> list[Ends]:
    """Ends of the support of each channel that a fitted forecaster forecasts."""
    scaler, channels = forecaster.reader_.scaler, forecaster.channels_
    if isinstance(scaler, SupportScaler):
        return list(zip(scaler.supports.low.tolist(), scaler.supports.high.tolist()))[: len(channels)]
    scales = getattr(forecaster, "transforms_", {})  # structural components have scales of their own
    return [SCALES[scales.get(name, "identity")] for name in channels]


def _supports(ends: Sequence[Ends], guessed: Sequence[bool]) -> Supports:
    low, high = np.array(ends, dtype=np.float64).T.copy()
    return Supports(low, high, np.array(guessed, dtype=bool))


def _wanted(support: Any, channels: Sequence[Hashable], past: Sequence[Hashable]) -> list[Ends | None]:
    """Ends of the support of each channel; None where they are to be found."""
    if not isinstance(support, Mapping):
        return [REAL if name in past else _ends(support) for name in channels]
    unknown = [name for name in support if name not in channels]
    if unknown:
        raise DataError(f"support= names the channel {unknown[0]!r}, but the channels are {list(channels)}.")
    return [_ends(support.get(name, "real")) for name in channels]


def _ends(value: Any, name: str = "support") -> Ends | None:
    """Ends of a support; None for "auto"."""
    if isinstance(value, str):
        lookup(dict.fromkeys(SUPPORTS), value, name)
        return NAMED.get(value)
    try:
        low, high = (float(none if end is None else end) for end, none in zip(value, REAL, strict=True))
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    has_two = math.isfinite(low) and math.isfinite(high)
    if not low < high or (math.isinf(low) and high < math.inf) or (has_two and math.isinf(high - low)):
        raise ParameterError(
            f"{name} must be one of {', '.join(map(repr, SUPPORTS))}, a pair of numbers such as (0, 100) or (0, None), "
            f"or a dict of channels to these, but is {value!r}: try {name}='positive'."
        )
    return low, high


def _map_of(seen: Sequence[Column], ends: Ends, reach: float, channel: Hashable) -> Transform:
    """Map of a channel whose support is known: of a positive one, by the likelier of root and logarithm."""
    supports = _supports([ends], [False])
    within = [(times, supports.within(values)) for times, values in seen]
    pooled = np.concatenate([values for _, values in within])
    candidates = choose_transforms(pooled, "unit" if ends[1] < math.inf else "positive", channel)
    if len(candidates) == 1:
        return next(iter(candidates.values()))
    return candidates[likeliest(scores_of_scales(within, candidates, reach), "log")]


def _find(seen: Sequence[Column], reach: float) -> tuple[Ends, Transform]:
    """Support and map of a channel of which nothing was said."""
    pooled, plain = np.concatenate([values for _, values in seen]), Transform.identity()
    if not (pooled > 0.0).all():
        return REAL, plain
    offered = {"identity": plain, "sqrt": Transform.box_cox(0.5), "log": Transform.box_cox(0.0)}
    if (pooled < 1.0).all():
        offered["logit"] = Transform.logit()
    scores = scores_of_scales(seen, offered, reach)
    plain_score, unit = scores["identity"], scores.pop("logit", None)
    name = likeliest({one: own for one, own in scores.items() if is_better(own, plain_score)}, "identity")
    # a logit is a logarithm where values are small: an upper end has to show
    if unit is not None and is_better(unit, scores[name]):
        name = "logit"
    return SCALES[name], offered[name]

"""Fit of a forecaster's structural components to series."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from tsode._registry import Part, as_part, class_of, lookup, name_of
from tsode.core.covariates import Covariates
from tsode.core.series import Series, collate
from tsode.core.timeline import Timeline
from tsode.core.transforms import choose_transforms
from tsode.errors import DataError, ParameterError, TsodeWarning
from tsode.estimators.forecasters.reader import DataReader
from tsode.frames.calendar import CYCLES
from tsode.frames.durations import read_duration
from tsode.frames.panel import Panel
from tsode.frames.times import read_times
from tsode.models.folded.model import FoldedModel
from tsode.models.structural.component import DataScale
from tsode.models.structural.cycle import Cycle
from tsode.models.structural.event_responses import Responses
from tsode.models.structural.joint_model import JointStructuralModel
from tsode.models.structural.level import Level
from tsode.models.structural.model import StructuralModel, features_at
from tsode.models.structural.registry import COMPONENTS
from tsode.models.structural.season import Season
from tsode.numerics.periodogram import find_periods
from tsode.training.structural.again import fit_again, scale_to_go_on
from tsode.training.structural.choice import FEWEST_TURNS, PeriodCandidate, affordable, automatic, named
from tsode.training.structural.joint import fit_joint
from tsode.training.structural.recipe import Choice, fit_channel
from tsode.training.structural.sample import Seen

__all__ = ["build_structure", "check_components", "check_joint", "fit_jointly", "fit_structure", "is_sharp"]

SHARP_SEASON, CHANGEPOINTS = "sharp_season", "changepoints"
SETTINGS: dict[str, type] = {"n_harmonics": int, "pooled": bool}  # of it
SAME_PERIOD = 0.05  # of itself, by which periods differ that are one


def check_components(name: str, value: Any, default: Any) -> None:
    """Raise an error unless this is None, "auto", or a list of components."""
    if value is None or (isinstance(value, str) and value == "auto"):
        return
    if isinstance(value, str) or not isinstance(value, list | tuple) or not value:
        raise ParameterError(
            f"{name}={value!r} must be None, 'auto', or a list of components such as ['slope', 'ou', 'season']."
        )
    if any(name_of(spec) == SHARP_SEASON for spec in value):
        if len(value) > 1:
            raise ParameterError(f"{SHARP_SEASON!r} is a model of its own: leave out the other components.")
        _folded_settings(value[0])
        return
    others = _without_changes(value)
    if not others:
        raise ParameterError(f"{CHANGEPOINTS!r} change a trend: give one beside them, as in [part(...), 'slope'].")
    for spec in others:
        class_of(COMPONENTS, spec, "component")
    for spec in value:
        if name_of(spec) == CHANGEPOINTS:
            _change_times(spec)


def _without_changes(components: Sequence[Any]) -> list[Any]:
    return [spec for spec in components if name_of(spec) != CHANGEPOINTS]


def _change_times(spec: Any) -> tuple[Any, ...]:
    """Times of changepoints as they were given."""
    settings = dict(as_part(spec).settings)
    for name in settings:
        lookup({"times": None}, name, f"setting of {CHANGEPOINTS!r}")
    times = settings.get("times", ())
    times = times if isinstance(times, tuple) else (times,)
    if not times:
        raise ParameterError(f"{CHANGEPOINTS!r} needs times, as in part({CHANGEPOINTS!r}, times=['2020-03-01']).")
    return times


def _changes(components: Sequence[Any], timeline: Timeline, panel: Panel) -> tuple[float, ...]:
    """Changepoints in model time, in order."""
    given = [time for spec in components if name_of(spec) == CHANGEPOINTS for time in _change_times(spec)]
    if not given:
        return ()
    found = timeline.to_model(read_times(given, panel, f"times= of {CHANGEPOINTS!r}"))
    seen = [times for times in panel.seen_times if len(times)]
    first, last = min(times[0] for times in seen), max(times[-1] for times in seen)
    low, high = timeline.to_model(np.array([first, last]))
    for at, change in zip(given, found):
        if not low < change <= high:
            raise DataError(
                f"The changepoint {at!r} in components= does not lie within the data, from {first} to {last}: leave "
                "it out, for nothing can be learned about it."
            )
    return tuple(sorted(set(found.tolist())))


def _folded_settings(spec: Any) -> dict[str, Any]:
    settings: dict[str, Any] = as_part(spec).get_params()
    for name, value in settings.items():
        kind: Any = lookup(SETTINGS, name, f"setting of {SHARP_SEASON!r}")
        is_fine: bool = type(value) is kind and (kind is bool or value >= 1)
        if not is_fine:
            raise ParameterError(f"{name}={value!r} of {SHARP_SEASON!r} must be a positive {kind.__name__}.")
    return settings


def is_sharp(components: Any) -> bool:
    """Whether they are the model of sharp seasons."""
    return components != "auto" and name_of(components[0]) == SHARP_SEASON


def check_joint(components: Any, per_series: bool, robust: bool | None) -> None:
    """Raise an error if channels cannot be modelled together."""
    if per_series:
        raise ParameterError("channels='joint' has the same parameters for all series: leave out per_series=.")
    if robust:
        raise ParameterError("channels='joint' believes all values: leave out robust=.")
    if is_sharp(components):
        raise ParameterError(f"{SHARP_SEASON!r} models every channel by itself: leave out channels='joint'.")
    if components != "auto" and any(name_of(spec) == CHANGEPOINTS for spec in components):
        raise ParameterError(f"{CHANGEPOINTS!r} are of each channel by itself: leave out channels='joint'.")


def build_structure(components: Any, n_channels: int, is_joint: bool = False) -> StructuralModel | FoldedModel:
    """A model of these components, to be fitted."""
    if is_sharp(components):
        return FoldedModel(n_channels, **_folded_settings(components[0]))
    return JointStructuralModel(n_channels) if is_joint else StructuralModel(n_channels)


def fit_structure(
    module: StructuralModel,
    series: Sequence[Series],
    reader: DataReader,
    panel: Panel,
    components: Any,
    support: Any,
    generator: torch.Generator,
    per_series: bool = False,
    is_robust: bool = False,
    noise_columns: Mapping[Hashable, Hashable] = MappingProxyType({}),
    max_seconds: float | None = None,
) -> None:
    """Fit the components to every channel by itself, and give them to `module`, which may have an earlier fit.

    Of a long history parameters are learned from more rows than structures are compared on, unless the comparison has
    taken half of the channel's share of `max_seconds`.
    """
    end = math.inf if max_seconds is None else time.perf_counter() + max_seconds
    timeline, channels = reader.timeline, reader.targets
    candidates = _calendar_periods(timeline)
    changes = () if components == "auto" else _changes(components, timeline, panel)
    components = components if components == "auto" else _without_changes(components)
    periods = {} if components == "auto" else _periods(components, timeline)
    searches = components == "auto" or any(
        issubclass(class_of(COMPONENTS, spec, "component"), Season | Cycle) and place not in periods
        for place, spec in enumerate(components)
    )
    responses = _responses(series, reader)
    every = [_features(one, responses) for one in series]
    fits = []
    for c, name in enumerate(channels):
        column = noise_columns.get(name)
        place = None if column is None else reader.channels.index(column)
        seen = [
            Seen(s.times[rows], s.values[rows, c], features[rows], _errors(s, place)[rows])
            for s, features in zip(series, every)
            for rows in [~np.isnan(s.values[:, c])]
            if rows.any()
        ]
        if not seen:
            raise DataError(f"Channel {name!r} was never observed: leave it out of target=.")
        transforms = choose_transforms(np.concatenate([one.values for one in seen]), _named(support, name), name)
        again = scale_to_go_on(module.channels[c], seen, transforms) if module.channels else None
        if again is not None:
            fits.append(fit_again(seen, again, module.channels[c], generator))
            continue
        offered = [*candidates, *_found_periods(seen, candidates, timeline)] if searches else candidates
        choose = partial(_with_few, _chooser(components, periods, offered), sum(len(one.values) for one in seen), name)
        settings: dict[str, Any] = {"per_series": per_series, "changes": changes, "is_robust": is_robust}
        settings |= {"place_of_errors": place, "responses": responses}
        settings["search_seconds"] = 0.5 * (end - time.perf_counter()) / (len(channels) - c)
        fits.append(fit_channel(seen, transforms, choose, generator, **settings))
    module.set_channels(fits)


def fit_jointly(
    module: JointStructuralModel,
    series: Sequence[Series],
    reader: DataReader,
    components: Any,
    support: Any,
    generator: torch.Generator,
) -> None:
    """Fit the components to all channels together, and give them to `module`."""
    candidates = _calendar_periods(reader.timeline)
    periods = {} if components == "auto" else _periods(components, reader.timeline)
    responses = _responses(series, reader)
    rows = [Seen(one.times, one.values, _features(one, responses), _errors(one, None)) for one in series]
    offered, transforms = [*candidates], []
    for c, name in enumerate(reader.channels):
        seen = [one.at(~np.isnan(one.values[:, c])) for one in rows]
        seen = [one._replace(values=one.values[:, c]) for one in seen if len(one.times)]
        found = _found_periods(seen, candidates, reader.timeline)
        offered += [
            one for one in found if all(abs(one.period / other.period - 1.0) > SAME_PERIOD for other in offered)
        ]
        transforms.append(choose_transforms(np.concatenate([one.values for one in seen]), _named(support, name), name))
    choose = _chooser(components, periods, offered)
    module.set_channels(fit_joint(rows, transforms, choose, generator, responses=responses))


def _named(support: Any, name: Hashable) -> str:
    """Support of one channel; a dict says nothing of those that take all real values."""
    found: str = support.get(name, "real") if isinstance(support, Mapping) else support
    return found


def _chooser(
    components: Any, periods: dict[int, float], offered: Sequence[PeriodCandidate]
) -> Callable[[DataScale, float], Choice]:
    if components == "auto":
        return partial(automatic, candidates=offered)
    found_first = [one for one in offered if one.is_found] + [one for one in offered[::-1] if not one.is_found]
    return partial(named, components, periods=periods, candidates=found_first)


def _errors(series: Series, place: int | None) -> np.ndarray:
    """Standard errors at the observations: array[n], NaN where none is given."""
    return np.full(len(series.times), np.nan) if place is None else series.values[:, place]


def _with_few(
    choose: Callable[[DataScale, float], Choice], n_values: int, name: Hashable, scale: DataScale, span: float
) -> Choice:
    """What is chosen, as far as there are as many values as parameters; else, a level and noise."""
    level = Choice([(Level(),)])
    kept = affordable(choose(scale, span), scale, n_values) if n_values > 1 else level  # one has no span
    if kept == level:
        warnings.warn(
            f"Channel {name!r} has {n_values} observed value{'s' * (n_values > 1)}, fewer than components= have "
            "parameters: it is forecast by a level and noise alone. Give a longer history.",
            TsodeWarning,
            stacklevel=2,
        )
    return kept


def _responses(series: Sequence[Series], reader: DataReader) -> Responses | None:
    """How series may respond to the events that they have; None without any."""
    if not reader.n_inputs:
        return None
    gaps = np.concatenate([np.diff(one.times) for one in series])
    spans = [one.times[-1] - one.times[0] for one in series if len(one.times) > 1]
    gap, span = (float(np.median(part)) if len(part) else 1.0 for part in (gaps[gaps > 0.0], spans))
    return Responses.between(reader.n_inputs, gap, span)


def _features(series: Series, responses: Responses | None) -> np.ndarray:
    """Covariates and responses to events at the observations: array[n f]."""
    times, parts = torch.from_numpy(series.times)[None], [torch.empty(1, len(series.times), 0).double()]
    if series.covariates is not None:
        parts.append(features_at(Covariates.stack([series.covariates], torch.float64), times))
    if responses is not None:
        parts.append(responses.at(collate([series], torch.float64), times))
    return torch.cat(parts, dim=2)[0].numpy()


def _calendar_periods(timeline: Timeline) -> list[PeriodCandidate]:
    """Day, week and year of datetimes; of numeric times the unit itself."""
    if timeline.kind == "datetime":
        return [PeriodCandidate(timeline.duration(length), label) for label, length in reversed(CYCLES.items())]
    if timeline.kind == "timedelta":
        return [PeriodCandidate(timeline.duration(CYCLES["day"]), "day")]
    return [PeriodCandidate(timeline.duration(1.0), "unit")]


def _found_periods(seen: Sequence[Seen], known: Sequence[PeriodCandidate], timeline: Timeline) -> list[PeriodCandidate]:
    """A period that the longest series shows, where no calendar speaks for its times or numbers do."""
    times, values, *_ = max(seen, key=lambda one: len(one.times))
    span, gap = (times[-1] - times[0], np.median(np.diff(times))) if len(times) > 2 else (0.0, 1.0)
    apply = [one.period for one in known if span >= FEWEST_TURNS * one.period and one.period >= 2.0 * gap]
    if timeline.kind == "datetime" and apply:
        return []
    found = find_periods(times, values, n_at_most=len(apply) + 1, candidates=apply)
    price = float(np.log(max(len(times), 3)))
    return [
        PeriodCandidate(one.period, "found", price, is_found=True)
        for one in found
        if all(abs(one.period / period - 1.0) > SAME_PERIOD for period in apply)
    ][:1]


def _periods(components: Sequence[Any], timeline: Timeline) -> dict[int, float]:
    """Periods that were given, in model time, by place."""
    given = {}
    for place, spec in enumerate(components):
        period = dict(spec.settings).get("period") if isinstance(spec, Part) else None
        if period is not None:
            given[place] = timeline.duration(read_duration(period, timeline.kind, "period"), "period")
            if not given[place] > 0.0:
                raise ParameterError(f"period={period!r} of components[{place}] must be positive.")
    return given

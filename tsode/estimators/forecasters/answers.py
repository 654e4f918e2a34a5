"""Answers of a model to the pieces of a question: distributions and paths in the data's own units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from tsode._isolation import isolated
from tsode.estimators.forecasters.ends import ends_at
from tsode.estimators.forecasters.pieces import NUMBERS_AT_ONCE, Piece
from tsode.estimators.forecasters.predictive import Predictive, failed_rows, report_failed
from tsode.estimators.forecasters.reach_report import ReachReport
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.forecasters.supports import in_units
from tsode.estimators.signal import Signal
from tsode.frames.times import Query
from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.censored import CensoredMixture
from tsode.models.filters.base import MarginalModel

__all__ = ["SAMPLE_WIDTH", "draw_paths", "draw_signals", "forecasts"]

SAMPLE_WIDTH = 12
"""Numbers of eight bytes, about, that a sampled value takes while it is drawn."""


def forecasts(
    reader: DataReader,
    query: Query,
    module: Any,
    asked: Iterable[Piece],
    impute: bool = False,
    must_hold: bool = False,
    report: ReachReport | None = None,
) -> Iterator[Predictive]:
    """Predictive distributions of the channels that are forecast, a piece at a time, in the data's own units.

    Where a solve fails the answer is NaN, and a warning names the series; an error does if nothing could be answered,
    or if all `must_hold`. With `impute`, from all that a model can know about a missing entry.
    """
    failed: dict[int, int] = {}
    is_answered = False
    n_targets = len(reader.targets)
    for piece in asked:
        if report is not None:
            report.add(piece)
        with isolated(), torch.no_grad():
            if impute and not piece.state:
                forecast = module.fill(piece.batch, piece.query_times)
            elif impute:
                forecast = module.forecast(piece.batch, piece.query_times, side="right", **piece.state)
            else:
                forecast = module.forecast(piece.batch, piece.query_times, **piece.state)
            family = forecast.family
            assert isinstance(family, Likelihood)
            failed |= failed_rows(forecast, piece.rows)
            # a value that is not finite, be it at one time, and whatever a failed solve gave
            is_good = forecast.params.isfinite().all(dim=-1) & (forecast.status == 0)[:, None, None]
            params = forecast.params.masked_fill(~is_good[..., None], torch.nan)[:, :, :n_targets]
            is_answered |= bool(piece.asked(is_good).any())
            family, params = in_units(reader.scaler, family, piece.asked(params).cpu().double())
            ends = ends_at(reader, module, piece, family, "right" if impute else "left")
            if ends is not None:
                low, high = (piece.asked(torch.from_numpy(end)) for end in ends)
                family, params = CensoredMixture.hold(family, params, low, high)
        share = partial(_epistemic_share, module, piece, n_targets, impute)
        yield Predictive(family, params, piece.at, epistemic_share=share)
    if report is not None:
        report.fail(failed)
    report_failed(query, failed, must_hold or not is_answered)


def _epistemic_share(module: Any, piece: Piece, n_targets: int, impute: bool) -> torch.Tensor | None:
    """Of the variance at each time and channel asked for (n c); None where the family of the forecast tells it."""
    if not isinstance(module, MarginalModel):
        return None
    with isolated(), torch.no_grad():
        share = module.epistemic_share(piece.batch, piece.query_times, "right" if impute else "left", **piece.state)
    return None if share is None else piece.asked(share[:, :, :n_targets]).cpu().double()


def draw_paths(
    reader: DataReader,
    query: Query,
    module: Any,
    asked: Iterable[Piece],
    n_samples: int,
    generator: torch.Generator,
    report: ReachReport | None = None,
) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Joint paths (s m c) of the channels that are forecast, some series at a time, in the data's own units.

    As in `forecasts`, series whose solve fails are NaN. The pieces must be joint.
    """
    for rows, drawn in _drawn(reader, query, module, module.sample, asked, n_samples, generator, report):
        yield rows, [_in_units(reader, of_series)[0] for of_series in drawn]


def draw_signals(
    reader: DataReader,
    query: Query,
    module: Any,
    asked: Iterable[Piece],
    n_samples: int,
    generator: torch.Generator,
    report: ReachReport | None = None,
) -> Iterator[tuple[list[int], list[Signal]]]:
    """Signals of the channels that are forecast, as `draw_paths`; the module tells them from noise."""

    def sample(*arguments: Any, **known: Any) -> torch.Tensor:
        paths, variation = module.sample_signal(*arguments, **known)
        if variation is None:
            return cast(torch.Tensor, paths)
        return torch.cat([paths, torch.nn.functional.pad(variation, (0, 0, 1, 0))], dim=-1)

    for rows, drawn in _drawn(reader, query, module, sample, asked, n_samples, generator, report):
        signals = []
        for of_series in drawn:
            paths, variation = _in_units(reader, of_series)
            signals.append(Signal(paths, variation, "signal", module.is_smooth))
        yield rows, signals


class _Drawn(NamedTuple):
    """Scaled paths (s m c), or with their variations behind them (s m 2c), and the ends (m c) that they keep to."""

    paths: np.ndarray
    ends: list[np.ndarray] | None


def _in_units(reader: DataReader, drawn: _Drawn) -> tuple[np.ndarray, np.ndarray | None]:
    """Paths (s m c) and variations (s m-1 c), if there are any, of what is forecast in its own units."""
    n_channels, n_targets = len(reader.channels), len(reader.targets)
    scaled, rest = drawn.paths[..., :n_channels], drawn.paths[:, 1:, n_channels:]
    path = reader.scaler.inverse(scaled)
    variation = None
    if rest.shape[-1]:
        slopes = reader.scaler.slopes(path)
        slopes = np.divide(1.0, slopes, out=np.zeros_like(slopes), where=slopes > 0.0)
        variation = (rest * slopes[:, 1:] * slopes[:, :-1])[..., :n_targets]
    path = path[..., :n_targets]
    return path if drawn.ends is None else np.clip(path, *drawn.ends), variation


def _drawn(
    reader: DataReader,
    query: Query,
    module: Any,
    sample: Callable[..., torch.Tensor],
    asked: Iterable[Piece],
    n_samples: int,
    generator: torch.Generator,
    report: ReachReport | None,
) -> Iterator[tuple[list[int], list[_Drawn]]]:
    """What is sampled of the pieces, series by series; NaN where a solve fails."""
    failed: dict[int, int] = {}
    width = SAMPLE_WIDTH * len(reader.channels)
    for piece in asked:
        if report is not None:
            report.add(piece)
        at_once = max(1, NUMBERS_AT_ONCE // (width * piece.places.size))
        counts = [min(at_once, n_samples - k) for k in range(0, n_samples, at_once)]
        with isolated(), torch.no_grad():
            # samples bring no status
            forecast = module.forecast(piece.batch, piece.query_times, **piece.state)
            ends = ends_at(reader, module, piece, forecast.family, "left")
            here, known = failed_rows(forecast, piece.rows), dict(piece.state)
            if isinstance(module, MarginalModel):
                known["forecast"] = forecast
            drawn = [
                sample(piece.batch, piece.query_times, n, generator, **known).cpu().double().numpy() for n in counts
            ]
        failed |= here
        found = []
        for place, row in enumerate(piece.rows):
            m = len(query.times[row])
            path = np.concatenate([part[:, place, :m] for part in drawn])
            path = np.full_like(path, np.nan) if row in here else path
            found.append(_Drawn(path, None if ends is None else [end[place, :m] for end in ends]))
        yield piece.rows, found
    report_failed(query, failed, len(failed) == len(query.ids))

"""Answers of a model to the pieces of a question: distributions and paths in the data's own units."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from tsode._isolation import isolated
from tsode.estimators.forecasters.ends import ends_at
from tsode.estimators.forecasters.pieces import NUMBERS_AT_ONCE, Piece
from tsode.estimators.forecasters.predictive import Predictive, failed_rows, report_failed
from tsode.estimators.forecasters.reach_report import ReachReport
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.forecasters.supports import in_units
from tsode.frames.times import Query
from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.censored import CensoredMixture
from tsode.models.filters.base import MarginalModel

__all__ = ["SAMPLE_WIDTH", "draw_paths", "forecasts"]

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
    failed: dict[int, int] = {}
    n_targets, width = len(reader.targets), SAMPLE_WIDTH * len(reader.channels)
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
                module.sample(piece.batch, piece.query_times, n, generator, **known).cpu().double().numpy()
                for n in counts
            ]
        failed |= here
        paths = []
        for place, row in enumerate(piece.rows):
            path = np.concatenate([part[:, place, : len(query.times[row])] for part in drawn])
            path = np.full_like(path, np.nan) if row in here else reader.scaler.inverse(path)
            path = path[..., :n_targets]
            if ends is not None:
                path = np.clip(path, *(end[place, : path.shape[1]] for end in ends))
            paths.append(path)
        yield piece.rows, paths
    report_failed(query, failed, len(failed) == len(query.ids))

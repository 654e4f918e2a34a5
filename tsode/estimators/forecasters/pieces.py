"""Pieces of a question: what is answered at once, so that memory does not grow with what is asked."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsode._threads import one_thread
from tsode.core.batch import IrregularBatch
from tsode.core.series import ROWS_AT_ONCE, Series, collate
from tsode.estimators.forecasters.history import Checkpoint
from tsode.estimators.forecasters.predictive import Predictive, failed_rows, report_failed
from tsode.estimators.forecasters.reader import DataReader
from tsode.frames.panel import Panel
from tsode.frames.times import Query
from tsode.likelihoods.base import Likelihood
from tsode.models.base import ForecastModel
from tsode.models.filters.state import FilterState

__all__ = ["NUMBERS_AT_ONCE", "SAMPLE_WIDTH", "Piece", "draw_paths", "forecasts", "pieces"]

NUMBERS_AT_ONCE = 2**25
"""Numbers of eight bytes that a piece may take: 256 MB."""

SAMPLE_WIDTH = 12
"""Numbers of eight bytes, about, that a sampled value takes while it is drawn."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Some series of a question, their histories, and a stretch of the query times of each.

    Parameters
    ----------
    rows : list of int
        Series of the question.
    places : array[b m], int
        Of each query time in the question, its series set end to end.
    is_asked : array[b m], bool
        False in the padding of short questions, which repeats their last time.
    batch : IrregularBatch
        Histories.
    query_times : Tensor[b m], float64
    state : dict
        The states to go on from, as arguments of the model, or nothing.
    """

    rows: list[int]
    places: np.ndarray
    is_asked: np.ndarray
    batch: IrregularBatch
    query_times: Tensor
    state: dict[str, Any]

    @property
    def at(self) -> np.ndarray:
        """Places of what `asked` gives: array[k]."""
        return self.places[self.is_asked]

    def asked(self, answers: Tensor) -> Tensor:
        """Answers (b m ...) without those of the padding: Tensor[k ...]."""
        return answers[torch.from_numpy(self.is_asked).to(answers.device)]


def pieces(
    reader: DataReader,
    query: Query,
    panel: Panel,
    module: ForecastModel,
    dtype: torch.dtype,
    device: torch.device,
    *,
    reached: Mapping[Hashable, Checkpoint] | None = None,
    extra: int = 0,
    is_joint: bool = False,
) -> Iterator[Piece]:
    """Cut a question into pieces of at most `NUMBERS_AT_ONCE`, or of one series or query time where that is more.

    Series with histories of like length come together, as many as fit with all that they are asked. If the questions
    of such a batch do not fit, those of like length come together, and a long one is cut: what is asked of a series at
    one time depends on no other time.

    Parameters
    ----------
    reader : DataReader
    query : Query
    panel : Panel
        The histories.
    module : ForecastModel
    dtype, device
        Of `module`.
    reached : dict of id to Checkpoint, optional
        Of a series with one before all its query times, only what comes after it is run over.
    extra : int
        Numbers that the answer to one query time takes beside those of the model.
    is_joint : bool
        Whether the answers of a series belong together, so that its question is never cut.
    """
    reader.check_reach(query.ids, query.times, panel)
    place_of = {key: place for place, key in enumerate(panel.ids)}
    where = [place_of[key] for key in query.ids]
    resumed: dict[int, Checkpoint] = {}
    for row, (key, place) in enumerate(zip(query.ids, where) if reached else ()):
        checkpoint = (reached or {}).get(key)
        if checkpoint is not None and checkpoint.fits(panel, place) and checkpoint.precedes(query.times[row], reader):
            resumed[row] = checkpoint
    starts = np.cumsum([0, *map(len, query.times)])

    def series_of(row: int) -> Series:
        if row in resumed:
            return resumed[row].remaining(reader)
        key, place = query.ids[row], where[row]
        history = panel.times[place], panel.values[place], panel.inputs.get(key), panel.covariates.get(key)
        return reader.series_of(*history)

    def n_observed(row: int) -> int:
        values = panel.values[where[row]][resumed[row].n_rows if row in resumed else 0 :]
        return int(np.count_nonzero(~np.isnan(values).all(axis=1)))

    def n_inputs(row: int) -> int:
        inputs = panel.inputs.get(query.ids[row]) if reader.n_inputs else None
        return 0 if inputs is None else len(inputs.times)

    observed = [n_observed(row) for row in range(len(where))]
    history = [(observed[row] + n_inputs(row)) * module.event_width for row in range(len(where))]
    for goes_on in (False, True):
        rows = [row for row in range(len(where)) if (row in resumed) == goes_on]
        for together in _groups(sorted(rows, key=observed.__getitem__), history.__getitem__):
            of_rows = {row: series_of(row) for row in together}
            for part, begin, end in _cut(together, query, reader, module, of_rows, extra, is_joint):
                batch = collate([of_rows[row] for row in part], dtype).to(device)
                state = {"state": FilterState.stack([resumed[row].state for row in part])} if part[0] in resumed else {}
                times = [query.times[row][begin:end] for row in part]
                counts = np.array(list(map(len, times)))
                step = np.arange(max(1, int(counts.max())))
                # short questions are padded with their own last time; a series may be asked for no time at all
                within = np.minimum(step, np.maximum(counts - 1, 0)[:, None])
                flat = np.append(reader.timeline.to_model(np.concatenate(times)), 0.0)
                index = np.where(counts[:, None] > 0, (np.cumsum(counts) - counts)[:, None] + within, len(flat) - 1)
                places = starts[part][:, None] + begin + step
                asked = torch.from_numpy(flat[index]).to(device)
                yield Piece(part, places, step < counts[:, None], batch, asked, state)


def forecasts(
    reader: DataReader,
    query: Query,
    module: ForecastModel,
    asked: Iterable[Piece],
    impute: bool = False,
    must_hold: bool = False,
) -> Iterator[Predictive]:
    """Predictive distributions of the channels that are forecast, a piece at a time, in the data's own units.

    Series whose solve fails are NaN and named in a warning, or an error where no other is asked for, or if all
    `must_hold`. With `impute`, from all that a model can know about a missing entry.
    """
    failed: dict[int, int] = {}
    n_targets, scaler = len(reader.targets), reader.scaler
    shift, scale = (torch.from_numpy(np.array(part[:n_targets])) for part in (scaler.shift, scaler.scale))
    for piece in asked:
        with one_thread(), torch.no_grad():
            if impute:
                forecast = module.fill(piece.batch, piece.query_times)
            else:
                forecast = module.forecast(piece.batch, piece.query_times, **piece.state)
            family = forecast.family
            assert isinstance(family, Likelihood)
            here = failed_rows(forecast, piece.rows)
            params = forecast.params[:, :, :n_targets]
            if here:
                failed |= here
                params[[row in here for row in piece.rows]] = torch.nan
            params = family.affine(piece.asked(params).cpu().double(), shift, scale)
        yield Predictive(family, params, piece.at)
    report_failed(query, failed, must_hold)


def draw_paths(
    reader: DataReader,
    query: Query,
    module: ForecastModel,
    asked: Iterable[Piece],
    n_samples: int,
    generator: torch.Generator,
) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Joint paths (s m c) of the channels that are forecast, some series at a time, in the data's own units.

    As in `forecasts`, series whose solve fails are NaN. The pieces must be joint.
    """
    failed: dict[int, int] = {}
    n_targets, width = len(reader.targets), SAMPLE_WIDTH * len(reader.channels)
    for piece in asked:
        at_once = max(1, NUMBERS_AT_ONCE // (width * piece.places.size))
        counts = [min(at_once, n_samples - k) for k in range(0, n_samples, at_once)]
        with one_thread(), torch.no_grad():
            # samples bring no status
            here = failed_rows(module.forecast(piece.batch, piece.query_times, **piece.state), piece.rows)
            drawn = [
                module.sample(piece.batch, piece.query_times, n, generator, **piece.state).cpu().double().numpy()
                for n in counts
            ]
        failed |= here
        paths = []
        for place, row in enumerate(piece.rows):
            path = np.concatenate([part[:, place, : len(query.times[row])] for part in drawn])
            path = np.full_like(path, np.nan) if row in here else reader.scaler.inverse(path)
            paths.append(path[..., :n_targets])
        yield piece.rows, paths
    report_failed(query, failed)


def _cut(
    rows: list[int],
    query: Query,
    reader: DataReader,
    module: ForecastModel,
    series: Mapping[int, Series],
    extra: int,
    is_joint: bool,
) -> Iterator[tuple[list[int], int, int | None]]:
    """Rows whose questions fit together, and the stretch of query times that is answered."""
    asked = {row: len(query.times[row]) for row in rows}
    between = [0]
    for row in rows:
        times = series[row].times
        if len(times) and asked[row] and reader.timeline.to_model(query.times[row][:1])[0] <= times[-1]:
            between.append(len(times))
    width = module.query_width(max(between)) + extra
    if len(rows) * max(asked.values()) * width <= NUMBERS_AT_ONCE:
        yield rows, 0, None
        return
    for part in _groups(sorted(rows, key=asked.__getitem__), lambda row: asked[row] * width):
        longest = asked[part[-1]]
        size = longest if is_joint or len(part) > 1 else max(1, NUMBERS_AT_ONCE // width)
        for begin in range(0, max(1, longest), max(1, size)):
            yield part, begin, begin + size


def _groups(rows: Sequence[int], size: Callable[[int], int]) -> Iterator[list[int]]:
    """Consecutive rows, of growing sizes, that fit together when each takes as much as the last."""
    group: list[int] = []
    for row in rows:
        if group and (len(group) == ROWS_AT_ONCE or (len(group) + 1) * size(row) > NUMBERS_AT_ONCE):
            yield group
            group = []
        group.append(row)
    if group:
        yield group

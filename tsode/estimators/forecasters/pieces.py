"""Pieces of a question: what is answered at once, so that memory does not grow with what is asked."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode.core.batch import IrregularBatch
from tsode.core.series import ROWS_AT_ONCE, Series, collate
from tsode.estimators.forecasters.history import Checkpoint
from tsode.estimators.forecasters.reader import DataReader
from tsode.frames.panel import Panel
from tsode.frames.times import Query
from tsode.models.base import ForecastModel
from tsode.models.filter_state import FilterState

__all__ = ["NUMBERS_AT_ONCE", "STEPS_AT_ONCE", "Piece", "pieces"]

NUMBERS_AT_ONCE = 2**25
"""Numbers of eight bytes that a piece may take: 256 MB."""

STEPS_AT_ONCE = 2**14
"""Events of one history that a filter runs over at once: each step holds memory beside its numbers."""


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
    reached: Mapping[Hashable, Checkpoint | None] | None = None,
    extra: int = 0,
    is_joint: bool = False,
    is_whole: bool = False,
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
    is_whole : bool
        Whether they ask for all of its history, be it later, so that this is never cut.
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

    def series_of(rows: list[int]) -> list[Series]:
        if rows[0] in resumed:
            return [resumed[row].remaining(reader) for row in rows]
        return reader.series(panel.select([where[row] for row in rows]))

    def n_inputs(row: int) -> int:
        inputs = panel.inputs.get(query.ids[row]) if reader.n_inputs else None
        return 0 if inputs is None else len(inputs.times)

    observed = [
        int(np.count_nonzero(seen[resumed[row].n_rows if row in resumed else 0 :]))
        for row, seen in enumerate(panel.select(where).rows_seen)
    ]
    events = [observed[row] + n_inputs(row) for row in range(len(where))]
    is_long = [module.can_resume and not is_whole and n > STEPS_AT_ONCE for n in events]
    # a long history is run over by itself, in parts
    history = [max(n * module.event_width, alone * NUMBERS_AT_ONCE) for n, alone in zip(events, is_long)]
    for goes_on in (False, True):
        rows = [row for row in range(len(where)) if (row in resumed) == goes_on]
        for together in _groups(sorted(rows, key=observed.__getitem__), history.__getitem__):
            asked = {row: reader.timeline.to_model(query.times[row]) for row in together}
            stretch = _Stretch(
                dict(zip(together, series_of(together))),
                asked,
                dict.fromkeys(together, 0),
                {row: resumed[row].state for row in together} if goes_on else {},
            )
            parts: Iterable[_Stretch] = [stretch]
            if is_long[together[0]]:
                parts = _through(together[0], stretch, module, dtype, device, is_joint)
            for part in parts:
                for smaller in part.cut(module, extra, is_joint):
                    yield smaller.piece(starts, dtype, device)


@dataclass(frozen=True)
class _Stretch:
    """Some series, by their rows in a question, and query times that are asked of them.

    Parameters
    ----------
    series : dict of row to Series
        In model time and scaled units.
    asked : dict of row to array[m]
        Model times, sorted.
    first : dict of row to int
        Number of the first of these among all that the series is asked.
    states : dict of row to FilterState
        What the series go on from; empty where they begin.
    """

    series: Mapping[int, Series]
    asked: Mapping[int, np.ndarray]
    first: Mapping[int, int]
    states: Mapping[int, FilterState]

    def only(self, rows: Sequence[int], begin: int = 0, end: int | None = None) -> _Stretch:
        """Some of the rows, and of their query times."""
        return _Stretch(
            {row: self.series[row] for row in rows},
            {row: self.asked[row][begin:end] for row in rows},
            {row: self.first[row] + begin for row in rows},
            {row: self.states[row] for row in rows if row in self.states},
        )

    def cut(self, module: ForecastModel, extra: int, is_joint: bool) -> Iterator[_Stretch]:
        """Stretches whose questions fit; see `pieces`."""
        between = [
            len(series.times)
            for row, series in self.series.items()
            if len(series.times) and len(self.asked[row]) and self.asked[row][0] <= series.times[-1]
        ]
        width = module.query_width(max(between, default=0)) + extra
        sizes = {row: len(times) * width for row, times in self.asked.items()}
        if len(sizes) * max(sizes.values()) <= NUMBERS_AT_ONCE:
            yield self
            return
        for rows in _groups(sorted(sizes, key=sizes.__getitem__), sizes.__getitem__):
            longest = len(self.asked[rows[-1]])
            step = max(1, longest if is_joint or len(rows) > 1 else NUMBERS_AT_ONCE // width)
            for begin in range(0, max(1, longest), step):
                yield self.only(rows, begin, begin + step)

    @isolated()
    def piece(self, starts: np.ndarray, dtype: torch.dtype, device: torch.device) -> Piece:
        """These series as a batch; `starts` says where each of the question begins in it."""
        rows = list(self.series)
        counts = np.array([len(self.asked[row]) for row in rows])
        step = np.arange(max(1, int(counts.max())))
        # short questions are padded with their own last time; a series may be asked for no time at all
        within = np.minimum(step, np.maximum(counts - 1, 0)[:, None])
        flat = np.concatenate([*self.asked.values(), [0.0]])
        index = np.where(counts[:, None] > 0, (np.cumsum(counts) - counts)[:, None] + within, len(flat) - 1)
        places = (starts[rows] + list(self.first.values()))[:, None] + step
        return Piece(
            rows,
            places,
            step < counts[:, None],
            collate(list(self.series.values()), dtype).to(device),
            torch.from_numpy(flat[index]).to(device),
            {"state": FilterState.stack(list(self.states.values()))} if self.states else {},
        )


def _through(
    row: int, whole: _Stretch, module: Any, dtype: torch.dtype, device: torch.device, is_joint: bool
) -> Iterator[_Stretch]:
    """Parts of one long history with the query times that fall into each, and the state that the last has left."""
    series, asked, state = whole.series[row], whole.asked[row], whole.states.get(row)
    events = np.sort(np.concatenate([series.times, series.input_times]))
    cuts = [-np.inf, *np.unique(events[STEPS_AT_ONCE::STEPS_AT_ONCE]), np.inf]
    for start, end in pairwise(cuts):
        first, until = np.searchsorted(asked, [start, end])
        if is_joint and until:
            until, end = len(asked), np.inf
        rows, inputs = (slice(*np.searchsorted(t, [start, end])) for t in (series.times, series.input_times))
        part, is_last = series.part(rows, inputs), until == len(asked)
        if until > first or is_last:
            states = {} if state is None else {row: state}
            yield _Stretch({row: part}, {row: asked[first:until]}, {row: int(first)}, states)
        if is_last:
            return
        with isolated(), torch.no_grad():
            state = module.advance(collate([part], dtype).to(device), state)


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

"""Histories that grow: new rows are joined to a panel, and filters keep the state they had reached in each series."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from tsode.core.series import ROWS_AT_ONCE, Series, collate
from tsode.errors import DataError
from tsode.estimators.forecasters.reader import DataReader
from tsode.frames.growing import GrowingDict, GrowingList
from tsode.frames.growing_panel import GrowingPanel
from tsode.frames.index import join_times, restore_times
from tsode.frames.inputs import DosingInputs
from tsode.frames.panel import CovariateRecord, Panel
from tsode.models.filter_state import FilterState

__all__ = ["Checkpoint", "append_inputs", "append_rows", "checkpoints"]


LONG = 1000
"""Events from which on a history is long: running over it again takes more than its state does, be that large."""

MOST_KEPT = 2**25
"""Numbers of eight bytes of the large states of all series together: 256 MB. Others are run over again."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """State of a filter in one series, strictly before the last time at which something was seen there.

    So values of further channels, and events, may still come at that time.

    Parameters
    ----------
    state : FilterState
        Of one row.
    times, values, inputs, known
        The history it belongs to, by identity: of any other it says nothing.
    n_rows, n_inputs : int
        Rows and inputs that are behind it.
    """

    state: FilterState
    times: np.ndarray
    values: np.ndarray
    inputs: DosingInputs | None
    known: CovariateRecord | None
    n_rows: int
    n_inputs: int

    @property
    def time(self) -> float:
        """Model time of the last event behind it."""
        return float(self.state.times)

    def fits(self, panel: Panel, row: int) -> bool:
        """Whether it is of this series with this history."""
        inputs, known = (part.get(panel.ids[row]) for part in (panel.inputs, panel.covariates))
        is_same = panel.times[row] is self.times and panel.values[row] is self.values
        return is_same and inputs is self.inputs and known is self.known

    def precedes(self, times: np.ndarray, reader: DataReader) -> bool:
        """Whether all these native times, of which there must be some, are after what is behind it."""
        return len(times) > 0 and bool((reader.timeline.to_model(times) > self.time).all())

    def remaining(self, reader: DataReader) -> Series:
        """What is not behind it."""
        rest = self.inputs
        if rest is not None:
            rest = DosingInputs(rest.times[self.n_inputs :], rest.values[self.n_inputs :])
        return reader.series_of(self.times[self.n_rows :], self.values[self.n_rows :], rest, self.known)


def append_rows(panel: GrowingPanel, new: Panel, duplicates: str) -> tuple[GrowingPanel, dict[Hashable, Any]]:
    """The panel with the rows of `new`, and the time of the first new row of each series that has one.

    Only the series in `new` are looked at, unless its times ask for finer ticks: then those of every series are cast.

    A value of a channel at a time that had none fills it in; a second one is an error, or is averaged with what is
    there (which may be a mean already), by `duplicates`. Series that get no row keep their arrays.

    Raises
    ------
    DataError
        If there are two values of one channel at one time of one series, unless they are averaged.
    """
    dtype = panel.times[0].dtype
    joined = join_times([panel.times[0][:0], *new.times])[1:]
    if any(t.dtype != dtype for t in joined):
        whole = join_times([*panel.times, *new.times])
        joined = whole[len(panel) :]
        if whole[0].dtype != dtype:
            panel = replace(panel, times=GrowingList(whole[: len(panel)]))
    first: dict[Hashable, Any] = {}
    times: dict[int, np.ndarray] = {}
    values: dict[int, np.ndarray] = {}
    more: list[int] = []
    for place, (key, t, x) in enumerate(zip(new.ids, joined, new.values)):
        row = panel.ids.row_of(key)
        if len(t):
            first[key] = t[0]
        if row is None:
            more.append(place)
        elif len(t):
            # what comes before the first new row stays as it is
            start = int(np.searchsorted(panel.times[row], t[0]))
            late = _join(key, panel.times[row][start:], panel.values[row][start:], t, x, duplicates, panel)
            times[row] = np.concatenate([panel.times[row][:start], late[0]])
            values[row] = np.concatenate([panel.values[row][:start], late[1]])
    grown = replace(
        panel,
        ids=panel.ids.with_more([new.ids[place] for place in more]),
        times=panel.times.changed(times, [joined[place] for place in more]),
        values=panel.values.changed(values, [new.values[place] for place in more]),
    )
    return grown, first


def _join(
    key: Hashable, t0: np.ndarray, x0: np.ndarray, t1: np.ndarray, x1: np.ndarray, duplicates: str, panel: Panel
) -> tuple[np.ndarray, np.ndarray]:
    times = np.unique(np.concatenate([t0, t1]))
    both = np.full((2, len(times), x1.shape[1]), np.nan)
    both[0, np.searchsorted(times, t0)] = x0
    both[1, np.searchsorted(times, t1)] = x1
    seen = ~np.isnan(both)
    twice = seen.all(axis=0)
    if duplicates == "error" and twice.any():
        row, channel = np.argwhere(twice)[0]
        at = restore_times(times[row : row + 1], panel.layout.time_dtype)[0]
        raise DataError(
            f"Series {key!r} has a value of {panel.channels[channel]!r} at {at} already: give only rows that are new, "
            "or set duplicates='mean' to average them."
        )
    count = seen.sum(axis=0)
    return times, np.where(count > 0, np.where(seen, both, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def append_inputs(
    known: GrowingDict[Hashable, DosingInputs], new: Mapping[Hashable, DosingInputs]
) -> tuple[GrowingDict[Hashable, DosingInputs], dict[Hashable, Any]]:
    """Inputs of both, and the time of the first new one of each series; at one time, known ones come first."""
    joined, first = {}, {}
    for key, inputs in new.items():
        first[key] = inputs.times[0]
        if key in known:
            times = np.concatenate([known[key].times, inputs.times])
            order = np.argsort(times, kind="stable")
            inputs = DosingInputs(times[order], np.concatenate([known[key].values, inputs.values])[order])
        joined[key] = inputs
    return known.changed(joined), first


def checkpoints(
    module: Any,
    panel: Panel,
    reader: DataReader,
    known: Mapping[Hashable, Checkpoint | None],
    first: Mapping[Hashable, Sequence[Any]],
    dtype: torch.dtype,
    device: torch.device,
) -> dict[Hashable, Checkpoint | None]:
    """Checkpoints of the series in `panel`, or None, from those `known` before its new rows and inputs came.

    Parameters
    ----------
    module : MarginalModel
        That can resume. If its states are large, those of long histories alone are kept, as many as there is room for.
    panel : Panel
        The histories with what is new.
    reader : DataReader
    known : dict of id to Checkpoint
        One that what is new is not wholly ahead of is left, and its series is run over from its start.
    first : dict of id to native times
        Of the first new row and input of the series that have any.
    dtype, device
        Of `module`.
    """
    updated: dict[Hashable, Checkpoint | None] = dict.fromkeys(panel.ids)
    plain: list[tuple[Hashable, Checkpoint, Series, FilterState | None]] = []
    for row, key in enumerate(panel.ids):
        times, values, inputs, ahead = (
            panel.times[row],
            panel.values[row],
            panel.inputs.get(key),
            panel.covariates.get(key),
        )
        old = known.get(key)
        if old is not None and old.known is not ahead:
            old = None
        if old is not None and key in first:
            is_ahead = all(old.precedes(np.atleast_1d(time), reader) for time in first[key])
            old = old if is_ahead else None
        if old is not None and key not in first:
            updated[key] = replace(old, times=times, values=values, inputs=inputs)
            continue
        # only what the checkpoint has not behind it is looked at
        n_rows, n_inputs = (0, 0) if old is None else (old.n_rows, old.n_inputs)
        observed = n_rows + np.flatnonzero(~np.isnan(values[n_rows:]).all(axis=1))
        if not len(observed):
            continue
        last = int(observed[-1])
        until = n_inputs
        if inputs is not None:
            until += int(np.searchsorted(inputs.times[n_inputs:], times[last]))
        put_in = None if inputs is None else DosingInputs(inputs.times[n_inputs:until], inputs.values[n_inputs:until])
        piece = reader.series_of(times[n_rows:last], values[n_rows:last], put_in, ahead)
        if old is None and module.state_width and last < LONG:
            continue
        state = None if old is None else old.state
        if not len(piece.times) + len(piece.input_times):
            if old is not None:
                updated[key] = replace(old, times=times, values=values, inputs=inputs, n_rows=last)
            continue
        blank = old.state if old is not None else FilterState(*[torch.empty(0)] * 8)
        plain.append((key, Checkpoint(blank, times, values, inputs, ahead, last, until), piece, state))
    for resumes in (False, True):
        todo = [job for job in plain if (job[3] is not None) == resumes]
        todo.sort(key=lambda job: len(job[2].times))
        if todo and module.state_width and not resumes:
            room = MOST_KEPT // module.state_width - sum(kept is not None for kept in known.values())
            todo = todo[max(0, len(todo) - room) :]
        for start in range(0, len(todo), ROWS_AT_ONCE):
            part = todo[start : start + ROWS_AT_ONCE]
            batch = collate([piece for _, _, piece, _ in part], dtype).to(device)
            before = FilterState.stack([state for *_, state in part if state is not None]) if resumes else None
            for (key, checkpoint, *_), state in zip(part, module.advance(batch, before).split()):
                updated[key] = replace(checkpoint, state=state)
    return updated

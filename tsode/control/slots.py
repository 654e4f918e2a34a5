"""Slots of a plan: every amount that is to be chosen, with its time and what limits it, and back to tables."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tsode.control.actions import Doses, Input
from tsode.core.timeline import Timeline
from tsode.errors import DataError, ParameterError
from tsode.frames.durations import read_duration
from tsode.frames.index import restore_times
from tsode.frames.panel import Panel
from tsode.frames.times import read_times

__all__ = ["Given", "Slots", "read_slots"]

_SAME = 1e-9  # of a length of time: by how much less two doses may be apart


@dataclass(frozen=True, eq=False)
class Given:
    """Doses that were given to the target of an action: times (g,) in model time, and amounts (g,)."""

    times: np.ndarray
    amounts: np.ndarray


@dataclass(frozen=True, eq=False)
class Slots:
    """The ``k`` numbers that a plan chooses: of doses by time, then of inputs.

    Parameters
    ----------
    actions : sequence of Doses and Input
    of : array[k], int
        Which action each belongs to.
    times : array[k]
        In model time.
    low, high : array[k]
    shift : array[k]
        By how much each may move either way, in model time, within the plan.
    ends : (float, float)
        Of the plan, in model time.
    levels : list of (array or None)
        Of each, the amounts that there are.
    given : list of Given
        Of each action.
    spans : list of (float, float)
        Of each action, least time apart and the length in which `at_most` counts, in model time; 0 without.
    timeline : Timeline
    time_dtype : dtype
        Of the data's times.
    """

    actions: Sequence[Doses | Input]
    of: np.ndarray
    times: np.ndarray
    low: np.ndarray
    high: np.ndarray
    shift: np.ndarray
    ends: tuple[float, float]
    levels: Sequence[np.ndarray | None]
    given: Sequence[Given]
    spans: Sequence[tuple[float, float]]
    timeline: Timeline
    time_dtype: Any

    def __len__(self) -> int:
        return len(self.times)

    @property
    def is_dose(self) -> np.ndarray:
        """Which (k,) are doses; these come first."""
        return np.array([isinstance(self.actions[place], Doses) for place in self.of], dtype=bool)

    @property
    def n_doses(self) -> int:
        return int(self.is_dose.sum())

    def scale(self) -> np.ndarray:
        """A size (k,) of each number, by which a search measures it."""
        width = np.where(np.isfinite(self.high - self.low), self.high - self.low, np.nan)
        ends = np.maximum(np.abs(np.where(np.isfinite(self.low), self.low, 0.0)),
                          np.abs(np.where(np.isfinite(self.high), self.high, 0.0)))  # fmt: skip
        return np.where(np.isnan(width), np.where(ends > 0.0, ends, 1.0), width)

    def moves(self) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest shift (k,) of each."""
        first, last = self.ends
        return np.maximum(-self.shift, first - self.times), np.minimum(self.shift, last - self.times)

    def lengths(self) -> np.ndarray:
        """How long (k,) each dose goes in, in model time."""
        durations = [getattr(action, "duration", None) for action in self.actions]
        of_action = [0.0 if x is None else _length(x, self.timeline, "duration") for x in durations]
        return np.array([of_action[place] for place in self.of], dtype=np.float64)

    def clashes(self) -> np.ndarray:
        """Which pairs (k k) of doses are of times too near for both to be given."""
        apart = np.array([self.spans[place][0] for place in self.of])
        gap = np.abs(self.times[:, None] - self.times) + self.shift[:, None] + self.shift
        is_near = (self.of[:, None] == self.of) & (gap < apart * (1.0 - _SAME))
        np.fill_diagonal(is_near, False)
        return is_near

    def n_most(self) -> list[tuple[np.ndarray, int]]:
        """Of each action that has a limit: its slots (k,), bool, and how many of them a plan may use."""
        return [
            (self.of == place, int(action.n_most))
            for place, action in enumerate(self.actions)
            if isinstance(action, Doses) and action.n_most is not None
        ]

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Limits ``A a <= b`` on amounts of a stretch of time: (w k) and (w,)."""
        rows, ends = [], []
        for place, action in enumerate(self.actions):
            if not isinstance(action, Doses) or action.at_most is None:
                continue
            given, length = self.given[place], self.spans[place][1]
            for start in np.unique(np.concatenate([self.times[self.of == place], given.times])):
                until = start + length * (1.0 - _SAME)
                is_in = (self.of == place) & (self.times >= start) & (self.times < until)
                if is_in.any():
                    before = given.amounts[(given.times >= start) & (given.times < until)].sum()
                    rows.append(is_in.astype(np.float64))
                    ends.append(action.at_most - before)
        return np.array(rows).reshape(len(rows), len(self)), np.array(ends, dtype=np.float64)

    # -- tables --------------------------------------------------------------------------------------------------------

    def native(self, shifts: np.ndarray | None = None) -> pd.Index:
        """Times of all slots as the data have them."""
        moved = self.times if shifts is None else self.times + shifts
        return restore_times(self.timeline.to_native(moved), self.time_dtype)

    def events(
        self, amounts: np.ndarray, shifts: np.ndarray | None, series: Any, id_col: Any,
        time_col: Any, keep_all: bool = False,
    ) -> pd.DataFrame:  # fmt: skip
        """Rows of a table of events, one for each dose of any amount; `keep_all` keeps those of none."""
        n = self.n_doses
        chosen = np.arange(n) if keep_all else np.flatnonzero(np.abs(amounts[:n]) > _SAME * self.scale()[:n])
        times = self.native(shifts)
        table: dict[Hashable, Any] = {} if id_col is None else {id_col: [series] * len(chosen)}
        doses = [self.actions[self.of[k]] for k in chosen]
        table[time_col] = times[chosen]
        if any(isinstance(dose, Doses) and dose.target is not None for dose in doses):
            table["target"] = [dose.target for dose in doses if isinstance(dose, Doses)]
        table["amount"] = np.asarray(amounts)[chosen]
        if any(isinstance(dose, Doses) and dose.duration is not None for dose in doses):
            table["duration"] = [dose.duration for dose in doses if isinstance(dose, Doses)]
        frame = pd.DataFrame(table)
        if "duration" in frame and self.timeline.kind in ("datetime", "timedelta"):
            frame["duration"] = pd.to_timedelta(frame["duration"])
        return frame

    def known(self, amounts: np.ndarray, series: Any, id_col: Any, time_col: Any) -> pd.DataFrame | None:
        """Rows of a table of what is known along time; None without inputs."""
        parts = []
        times = self.native()
        for place, action in enumerate(self.actions):
            if isinstance(action, Input):
                chosen = np.flatnonzero(self.of == place)
                parts.append(pd.DataFrame({time_col: times[chosen], action.column: np.asarray(amounts)[chosen]}))
        if not parts:
            return None
        table = parts[0]
        for part in parts[1:]:
            table = table.merge(part, on=time_col, how="outer")
        table = table.sort_values(time_col, ignore_index=True)
        if id_col is not None:
            table.insert(0, id_col, series)
        return table


def read_slots(
    actions: Any, panel: Panel, timeline: Timeline, now: float, until: float, given: pd.DataFrame | None,
    first_target: Hashable, drop_past: bool = False,
) -> Slots:  # fmt: skip
    """Read actions as users write them.

    Parameters
    ----------
    actions : Doses, Input or list of these
    panel : Panel
        Whose times they go by.
    now, until : float
        Of the plan, in model time.
    given : DataFrame or None
        Events of the series, from `tsode.frames.events.read_events`.
    first_target : label
        What a target of None is.
    drop_past : bool
        Leave out times before now instead of refusing them.
    """
    actions = [actions] if isinstance(actions, Doses | Input) else list(actions)
    if not (actions or drop_past) or not all(isinstance(action, Doses | Input) for action in actions):
        raise ParameterError(f"actions= takes Doses, Input or a list of these, but is {actions!r}.")
    columns: list[tuple[bool, float, int, float, np.ndarray | None]] = []
    spans, given_of = [], []
    for place, action in enumerate(actions):
        is_dose = isinstance(action, Doses)
        times = np.sort(timeline.to_model(read_times(action.times, panel, f"times= of {action.what}")))
        if drop_past:
            times = times[times >= now]
        elif len(times) and times[0] < now:
            at = timeline.to_native(np.array([times[0], now]))
            raise ParameterError(
                f"{action.what} may be given at {at[0]}, but the plan begins at {at[1]}: leave it out."
            )
        times = times[times < until] if is_dose else times[times <= until]
        own = Given(np.empty(0), np.empty(0))
        apart = within = move = 0.0
        if isinstance(action, Doses):
            if action.apart is not None or action.at_most is not None:
                own = _given(given, action.target, first_target, timeline)
            lengths = (action.apart, action.within, action.shift)
            apart, within, move = (0.0 if x is None else _length(x, timeline, action.what) for x in lengths)
            if len(own.times):
                times = times[np.abs(times[:, None] - own.times).min(axis=1) >= apart * (1.0 - _SAME)]
        if not len(times) and not drop_past:
            raise ParameterError(f"{action.what} has no time within the plan that its limits allow: give times=.")
        if move and len(times) > 1 and 2.0 * move > np.diff(times).min():
            raise ParameterError(
                f"shift={action.shift!r} of {action.what} would let doses change places: make it half the "  # type: ignore[union-attr]
                "least time between two at most."
            )
        levels = action.levels()
        columns += [(not is_dose, time, place, move, levels) for time in times]
        spans.append((apart, within))
        given_of.append(own)
    columns.sort(key=lambda column: column[:3])
    of = np.array([place for _, _, place, _, _ in columns], dtype=int)
    return Slots(
        actions, of, np.array([time for _, time, *_ in columns], dtype=np.float64),
        np.array([actions[place].low for place in of]), np.array([actions[place].high for place in of]),
        np.array([move for *_, move, _ in columns], dtype=np.float64), (now, until), [levels for *_, levels in columns],
        given_of, spans, timeline, panel.layout.time_dtype,
    )  # fmt: skip


def _length(value: Any, timeline: Timeline, what: str) -> float:
    length = timeline.duration(read_duration(value, timeline.kind, what), what)
    if not length >= 0.0:
        raise ParameterError(f"A length of time of {what} is {value!r}, but must not be negative.")
    return length


def _given(rows: pd.DataFrame | None, target: Hashable, first: Hashable, timeline: Timeline) -> Given:
    if rows is None or not len(rows):
        return Given(np.empty(0), np.empty(0))
    wanted = first if target is None else target
    is_own = [kind in ("add", "rate", "reset_add") and (first if one is None else one) == wanted
              for kind, one in zip(rows["kind"], rows["target"])]  # fmt: skip
    own = rows[np.array(is_own, dtype=bool)]
    if own["steady_state"].any():
        raise DataError(
            "A dose in steady state stands for all before it, which limits of a plan cannot count: write out the doses "
            "that were given."
        )
    return Given(timeline.to_model(own["time"].to_numpy()), own["amount"].to_numpy(dtype=np.float64))

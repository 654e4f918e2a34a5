"""Questions to a fitted forecaster, sensible or not, and the rows that must answer them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from tests.hostile.containers import Container
from tests.hostile.times import Make

__all__ = ["QUESTIONS", "SENSIBLE", "QueryCase", "QueryContext"]


@dataclass(frozen=True)
class QueryContext:
    """What a question may refer to.

    Parameters
    ----------
    ids : list of label
        As the forecaster calls the series.
    last : list of int
        Tick of each series' last observation.
    make : callable
        Times of ticks.
    container : Container
    rng : Generator
    """

    ids: Sequence[Hashable]
    last: Sequence[int]
    make: Make
    container: Container
    rng: np.random.Generator

    def lead(self, ticks: int) -> Any:
        """So many ticks as a duration."""
        span = self.make(np.array([ticks]))[0] - self.make(np.array([0]))[0]
        return span.item() if isinstance(span, np.generic) and not isinstance(span, np.timedelta64) else span

    def ticks(self, n: int) -> np.ndarray:
        """Ticks before, within and after the history, in any order and some of them twice."""
        return self.rng.integers(-50, 900, n)[self.rng.integers(0, n, n)]


@dataclass(frozen=True)
class QueryCase:
    """A question.

    Parameters
    ----------
    arguments : dict
        Of `predict`.
    verdict : {"forecast", "error", "either"}
    rows : list of (place of a series, tick), optional
        Of the answer, in order; in a list, by series.
    """

    arguments: dict[str, Any]
    verdict: str
    rows: list[tuple[int, int]] | None = None


def _each(known: QueryContext, ticks: Sequence[int] | np.ndarray) -> list[tuple[int, int]]:
    return [(place, int(tick)) for place in range(len(known.ids)) for tick in ticks]


def _leads(known: QueryContext) -> QueryCase:
    leads = known.rng.integers(1, 400, 3)[[0, 1, 2, 0]]
    rows = [(place, last + int(lead)) for place, last in enumerate(known.last) for lead in leads]
    return QueryCase({"horizon": [known.lead(int(lead)) for lead in leads]}, "forecast", rows)


def _times(form: Callable[[pd.Index], Any]) -> Callable[[QueryContext], QueryCase]:
    def ask(known: QueryContext) -> QueryCase:
        ticks = known.ticks(5)
        return QueryCase({"times": form(known.make(ticks))}, "forecast", _each(known, ticks))

    return ask


def _times_of_each(known: QueryContext) -> QueryCase:
    places = list(range(len(known.ids)))[::-1]
    asked = {place: known.ticks(int(known.rng.integers(1, 4))) for place in places}
    rows = [(place, int(tick)) for place, ticks in asked.items() for tick in ticks]
    return QueryCase({"times": {known.ids[place]: known.make(t) for place, t in asked.items()}}, "forecast", rows)


def _frame(known: QueryContext, places: Sequence[int], ticks: np.ndarray) -> pd.DataFrame:
    ids = np.empty(len(places), dtype=object)
    ids[:] = [known.ids[place] for place in places]
    return pd.DataFrame({"unique_id": pd.Series(ids).infer_objects(), "ds": known.make(ticks)})


def _rows(known: QueryContext) -> QueryCase:
    places = np.concatenate([np.arange(len(known.ids)), known.rng.integers(0, len(known.ids), 4)])
    ticks = known.ticks(len(places))
    rows = [(int(place), int(tick)) for place, tick in zip(places, ticks)]
    return QueryCase({"X": known.container.rows(_frame(known, places.tolist(), ticks))}, "forecast", rows)


def _fixed(verdict: str, **arguments: Any) -> Callable[[QueryContext], QueryCase]:
    return lambda known: QueryCase(arguments, verdict)


def _of_rows(change: Callable[[pd.DataFrame], Any]) -> Callable[[QueryContext], QueryCase]:
    return lambda known: QueryCase({"X": change(_frame(known, [0, 0], np.array([500, 501])))}, "error")


def _other_kind(known: QueryContext) -> Any:
    is_number = known.make(np.arange(2)).infer_objects().dtype.kind in "iuf"
    return pd.Timestamp("2030-01-01") if is_number else 17.5


def _in_other_types(known: QueryContext) -> QueryCase:
    """Leads as other types hold the same duration."""
    leads = [int(lead) for lead in known.rng.integers(1, 400, 4)]
    spans = [known.lead(lead) for lead in leads]
    if isinstance(spans[0], timedelta | np.timedelta64):
        whole = [pd.Timedelta(span) for span in spans]
        given = [f"{whole[0].value}ns", whole[1].to_timedelta64(), pd.offsets.Nano(whole[2].value), whole[3]]
        if all(span.value % 1000 == 0 for span in whole):
            given[3] = whole[3].to_pytimedelta()
    else:
        given = [np.float64(spans[0]), float(spans[1]), np.array(spans[2])[()], spans[3]]
    rows = [(place, last + lead) for place, last in enumerate(known.last) for lead in leads]
    return QueryCase({"horizon": given}, "forecast", rows)


def _calendar(known: QueryContext) -> QueryCase:
    """Spans whose length the calendar decides."""
    spans = ["1MS", "3M", "Y", "B", "2QS", "ME", np.timedelta64(1, "M"), np.timedelta64(2, "Y"), pd.offsets.MonthEnd()]
    spans += [pd.DateOffset(months=1), pd.offsets.BusinessDay(), pd.offsets.YearBegin()]
    return QueryCase({"horizon": spans[int(known.rng.integers(len(spans)))]}, "error")


def _one_long(known: QueryContext) -> QueryCase:
    """Many times of one series, and one of each other."""
    ticks = {place: np.arange(2000 if place == 0 else 1) + 500 for place in range(len(known.ids))}
    rows = [(place, int(tick)) for place, own in ticks.items() for tick in own]
    return QueryCase({"times": {known.ids[place]: known.make(own) for place, own in ticks.items()}}, "forecast", rows)


def _as_other_type(key: Hashable) -> Hashable:
    return int(key) if isinstance(key, str) and key.isdigit() else f" {key}" if isinstance(key, str) else str(key)


def _times_of_other_type(known: QueryContext) -> QueryCase:
    """Times under an id that reads like one of the series', but is another."""
    asked = _as_other_type(known.ids[0])
    arguments = {"times": {asked: known.make(np.array([500]))}}
    if asked in known.ids:
        return QueryCase(arguments, "forecast", [(known.ids.index(asked), 500)])
    return QueryCase(arguments, "error")


QUESTIONS: dict[str, Callable[[QueryContext], QueryCase]] = {
    # sensible
    "nothing": _fixed("forecast"),
    "a horizon": lambda known: QueryCase({"horizon": known.lead(int(known.rng.integers(1, 500)))}, "forecast"),
    "leads": _leads,
    "an Index of times": _times(lambda index: index),
    "a Series of times": _times(lambda index: pd.Series(index, index=np.arange(len(index))[::-1])),
    "a list of times": _times(list),
    "times of each series": _times_of_each,
    "leads in other types": _in_other_types,
    "a long question beside short ones": _one_long,
    "rows": _rows,
    # at the edge
    "a horizon of a million ticks": lambda known: QueryCase({"horizon": [10**6 * known.lead(1)]}, "either"),
    "leads further and further": lambda known: QueryCase(
        {"horizon": [10**k * known.lead(1) for k in range(1, 8)]}, "either"
    ),
    "a horizon of 1e18 ticks": lambda known: QueryCase({"horizon": [1e18 * known.lead(1)]}, "either"),
    "no times of any series": _fixed("error", times={}),
    "a horizon of half a tick": lambda known: QueryCase({"horizon": [known.lead(1) / 2]}, "either"),
    # senseless
    "a horizon of zero": lambda known: QueryCase({"horizon": 0 * known.lead(1)}, "error"),
    "a horizon back": lambda known: QueryCase({"horizon": -1 * known.lead(3)}, "error"),
    "an infinite horizon": _fixed("error", horizon=np.inf),
    "a horizon of NaN": _fixed("error", horizon=np.nan),
    "a horizon of NaT": _fixed("error", horizon=pd.NaT),
    "a horizon in words": _fixed("error", horizon="soon"),
    "no leads": _fixed("error", horizon=[]),
    "leads of two axes": lambda known: QueryCase({"horizon": [[known.lead(1)]]}, "error"),
    "a horizon of another kind": lambda known: QueryCase(
        {"horizon": 3.5 if isinstance(_other_kind(known), float) else pd.Timedelta("3h")}, "error"
    ),
    "no times": _fixed("error", times=[]),
    "a NaT": _fixed("error", times=[pd.NaT]),
    "a None among times": lambda known: QueryCase({"times": [*known.make(np.array([500])), None]}, "error"),
    "an infinite time": _fixed("error", times=[np.inf]),
    "times of another kind": lambda known: QueryCase({"times": [_other_kind(known)]}, "error"),
    "times in words": _fixed("error", times=["soon"]),
    "times of two axes": lambda known: QueryCase({"times": [list(known.make(np.array([500])))]}, "error"),
    "times of an unknown series": lambda known: QueryCase({"times": {"nobody": known.make(np.array([500]))}}, "error"),
    "times of ids of another type": _times_of_other_type,
    "a horizon of the calendar": _calendar,
    "times and a horizon": lambda known: QueryCase(
        {"times": known.make(np.array([500])), "horizon": known.lead(3)}, "error"
    ),
    "rows of an unknown series": _of_rows(lambda frame: frame.assign(unique_id="nobody")),
    "no rows": _of_rows(lambda frame: frame.iloc[:0]),
    "rows without times": _of_rows(lambda frame: frame[["unique_id"]]),
    "rows with times missing": _of_rows(lambda frame: frame.assign(ds=frame["ds"].where(frame.index == 0))),
    "rows of another kind": lambda known: QueryCase(
        {"X": pd.DataFrame({"unique_id": [known.ids[0]] * 2, "ds": [_other_kind(known)] * 2})}, "error"
    ),
    "a number as rows": _fixed("error", X=3),
    "text as rows": _fixed("error", X="3h"),
    "a dict as rows": _fixed("error", X={"ds": [1.0]}),
    "an empty list as rows": _fixed("error", X=[]),
    "a function as times": _fixed("error", times=len),
}
"""By name."""
SENSIBLE = tuple(QUESTIONS)[: list(QUESTIONS).index("rows") + 1]
"""Those that have an answer."""

"""Cycles of the calendar in datetimes: the clock, the week, the seasons."""

from __future__ import annotations

from typing import Any

import numpy as np

from tsode.core.timeline import Timeline, typical_gap
from tsode.errors import ParameterError
from tsode.frames.labels import labels
from tsode.frames.panel import Panel

__all__ = ["CYCLES", "choose_cycles", "turns"]

CYCLES = {
    "day": np.timedelta64(86_400, "s"),
    "week": np.timedelta64(7 * 86_400, "s"),
    "year": np.timedelta64(31_556_952, "s"),  # the mean year of the Gregorian calendar
}
"""Length of each cycle."""

CHOSEN = ("day", "year")  # a week is of people's making: where it matters, it is to be named
FEWEST_TURNS = 2  # of a cycle that can be told from a trend
FEWEST_GAPS = 3  # typical gaps in a turn: a cycle that is seen more seldom does not show


def choose_cycles(calendar: Any, panel: Panel) -> tuple[str, ...]:
    """The cycles meant by a ``calendar`` parameter.

    Parameters
    ----------
    calendar : "auto", list of names in `CYCLES`, or None
        "auto" takes day and year, each where the data span it at least twice and have more than two rows a turn; of
        times that are not datetimes, none.
    panel : Panel

    Raises
    ------
    ParameterError
        If a name is not known, or the times are not datetimes.
    """
    if calendar is None:
        return ()
    is_dated = panel.time_kind == "datetime"
    if isinstance(calendar, str) and calendar == "auto":
        gap = typical_gap(panel.times) if is_dated else None
        if gap is None:
            return ()
        ends = [time for times in panel.times if len(times) for time in (times[0], times[-1])]
        span = max(ends) - min(ends)
        return tuple(
            name for name in CHOSEN if FEWEST_TURNS * CYCLES[name] <= span and FEWEST_GAPS * gap <= CYCLES[name]
        )
    names = labels(calendar)
    unknown = [name for name in names if name not in CYCLES]
    if unknown:
        raise ParameterError(
            f"calendar={calendar!r} names {unknown[0]!r}: choose 'auto', None, or some of {', '.join(CYCLES)}."
        )
    if names and not is_dated:
        raise ParameterError(
            f"calendar={calendar!r} needs datetimes, but the times are of kind {panel.time_kind!r}: leave it at 'auto'."
        )
    return tuple(name for name in CYCLES if name in names)


def turns(cycles: tuple[str, ...], timeline: Timeline) -> np.ndarray:
    """Turns per unit of model time of each cycle, and where it stands at model time 0, in turns: array[q 2].

    Cycles run in standard time: a clock that is set forward in summer is not followed.
    """
    if not cycles:
        return np.zeros((0, 2))
    zero = float(timeline.to_model(np.array(["1970-01-01"], dtype="M8[s]"))[0])
    lengths = np.array([timeline.duration(CYCLES[name]) for name in cycles])
    return np.stack([1.0 / lengths, (-zero / lengths) % 1.0], axis=1)

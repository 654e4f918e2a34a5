"""Seasons of the data: a period as the user gives it, or those that are known of a panel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tsode.core.timeline import Timeline, typical_gap
from tsode.errors import ParameterError
from tsode.frames.calendar import CYCLES
from tsode.frames.durations import read_duration
from tsode.frames.panel import Panel

__all__ = ["find_periods", "known_periods"]

FEWEST_TURNS = 2  # of a period in the typical series: one to forecast from, one to judge it by
FEWEST_GAPS = 2  # typical gaps in a period of the calendar
FEWEST_GAPS_OF_UNIT = 3  # a unit of numbers may be anything, so more of them
ROUNDING = 1e-9  # share by which a span of decimal numbers may miss a period


def find_periods(period: Any, panel: Panel, timeline: Timeline) -> tuple[float, ...]:
    """Periods in model time that a ``period`` parameter may mean.

    Parameters
    ----------
    period : "auto", duration or float
        "auto" means those of `known_periods`.
    panel : Panel
    timeline : Timeline

    Raises
    ------
    ParameterError
        If it is no positive duration, or longer than every series; with "auto", if none is known.
    """
    if isinstance(period, str) and period == "auto":
        known = known_periods(panel)
        if not known:
            example = "12.0" if _are_numbers(panel) else "'1D'"
            raise ParameterError(
                f"period='auto' knows no season of these data ({_asked(panel)}): give period={example}, or what it is, "
                "or use LastValueForecaster."
            )
        return tuple(timeline.duration(length, "period") for length in known)
    length = timeline.duration(read_duration(period, panel.time_kind, "period"), "period")
    if not length > 0.0:
        raise ParameterError(f"period={period!r} must be positive.")
    spans = _spans(panel)
    if not spans or timeline.duration(max(spans), "period") * (1.0 + ROUNDING) < length:
        longest = f"span {_tidy(max(spans))} at most" if spans else "have one time each"
        raise ParameterError(
            f"period={period!r} is longer than the data, whose series {longest}: give a shorter period, or use "
            "LastValueForecaster."
        )
    return (length,)


def known_periods(panel: Panel) -> list[Any]:
    """Periods that the data may have, in their own time: the calendar's, or a unit of numbers.

    This is where periods that are found in the values come in.
    """
    gap, spans = typical_gap(panel.seen_times), _spans(panel)
    if gap is None:
        return []
    span = spans[len(spans) // 2]
    if _are_numbers(panel):
        return [1.0] if FEWEST_GAPS_OF_UNIT * gap <= 1.0 and span >= FEWEST_TURNS else []
    return [length for length in CYCLES.values() if FEWEST_GAPS * gap <= length and FEWEST_TURNS * length <= span]


def _are_numbers(panel: Panel) -> bool:
    return panel.time_kind in ("float", "int")


def _spans(panel: Panel) -> list[Any]:
    """Time from the first to the last of each series that has two times, shortest first."""
    return sorted(times[-1] - times[0] for times in panel.seen_times if len(times) > 1)


def _asked(panel: Panel) -> str:
    if _are_numbers(panel):
        return "their times are numbers, and no unit of them has three typical gaps and fits in a typical series twice"
    return "no day, week or year has two typical gaps and fits in a typical series twice"


def _tidy(span: Any) -> str:
    return str(pd.Timedelta(span)) if isinstance(span, np.timedelta64) else f"{span:.6g}"

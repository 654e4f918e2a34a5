"""The axis of time, and which series is meant, for all pictures."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsode.errors import DataError, ParameterError
from tsode.frames.index import restore_times
from tsode.frames.labels import guess_label
from tsode.frames.panel import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["choose", "duration_unit", "format_dates", "time_axis"]

_SECONDS = {"days": 86400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0}


def choose(wanted: Hashable, known: Sequence[Hashable], what: str, where: str) -> Hashable:
    """The label `wanted` of the `known` ones in the argument `where`; the only one where none is named."""
    if wanted is None and len(known) == 1:
        return known[0]
    shown = ", ".join(repr(k) for k in known[:5]) + (", ..." if len(known) > 5 else "")
    if wanted is None:
        raise ParameterError(f"{where} has {len(known)} {what} labels ({shown}): say which to draw with {what}=.")
    if wanted not in known:
        raise DataError(f"{where} has no {what} {wanted!r}.{guess_label(wanted, known)} It has {shown}.")
    return wanted


def time_axis(times: np.ndarray, panel: Panel, seconds: float | None = None) -> tuple[Any, str, float | None]:
    """Times as matplotlib takes them, what the axis says, and the unit that durations are shown in."""
    name = panel.layout.time_col
    if panel.time_kind == "datetime":
        return pd.DatetimeIndex(restore_times(times, panel.layout.time_dtype)).to_pydatetime(), "", None
    if panel.time_kind != "timedelta":
        return times, "time" if name is None else str(name), None
    elapsed = times / np.timedelta64(1, "s")
    if seconds is None:
        longest = float(np.ptp(elapsed))
        seconds = next((one for one in _SECONDS.values() if longest >= 3.0 * one), 1.0)
    unit = next(name for name, one in _SECONDS.items() if one == seconds)
    return elapsed / seconds, f"time ({unit})", seconds


def duration_unit(span: Any, panel: Panel) -> tuple[float | None, str]:
    """Seconds and name of the largest unit that fits into a difference of times twice; None where they are numbers."""
    if panel.time_kind not in ("datetime", "timedelta"):
        return None, ""
    length = span / np.timedelta64(1, "ns") / 1e9
    name = next((name for name, one in _SECONDS.items() if length >= 2.0 * one), "seconds")
    return _SECONDS[name], name


def format_dates(ax: Axes, panel: Panel) -> None:
    """Short dates, in the time zone of the data, where times are datetimes."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    if panel.time_kind == "datetime":
        locator = AutoDateLocator(tz=panel.layout.tz)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=panel.layout.tz))

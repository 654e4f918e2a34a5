"""Time axis of all plots, and the choice of one series and channel."""

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

__all__ = ["choose", "draw_legend", "duration_unit", "format_dates", "log_scale", "plain_text", "time_axis"]

_SECONDS = {"days": 86400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0}


def choose(wanted: Hashable, labels: Sequence[Hashable], kind: str, where: str) -> Hashable:
    """The label `wanted` among the `labels` in the argument `where`; the only one where none is named."""
    if wanted is None and len(labels) == 1:
        return labels[0]
    shown = ", ".join(map(repr, labels[:5])) + (", ..." if len(labels) > 5 else "")
    if wanted is None:
        raise ParameterError(f"{where} has {len(labels)} {kind} labels ({shown}): say which to draw with {kind}=.")
    if wanted not in labels:
        raise DataError(f"{where} has no {kind} {wanted!r}.{guess_label(wanted, labels)} It has {shown}.")
    return wanted


def time_axis(times: np.ndarray, panel: Panel, seconds: float | None = None) -> tuple[Any, str, float | None]:
    """Times as matplotlib takes them, the label of the axis, and the seconds in a unit of durations."""
    name = panel.layout.time_col
    if panel.time_kind == "datetime":
        return pd.DatetimeIndex(restore_times(times, panel.layout.time_dtype)).to_pydatetime(), "", None
    if panel.time_kind != "timedelta":
        return times, "time" if name is None else plain_text(name), None
    elapsed = times / np.timedelta64(1, "s")
    if seconds is None:
        longest = float(np.ptp(elapsed))
        seconds = next((length for length in _SECONDS.values() if longest >= 3.0 * length), 1.0)
    unit = next(name for name, length in _SECONDS.items() if length == seconds)
    return elapsed / seconds, f"time ({unit})", seconds


def duration_unit(span: Any, panel: Panel) -> tuple[float | None, str]:
    """Seconds and name of the largest unit that fits into a difference of times twice; None where they are numbers."""
    if panel.time_kind not in ("datetime", "timedelta"):
        return None, ""
    elapsed = span / np.timedelta64(1, "ns") / 1e9
    name = next((name for name, length in _SECONDS.items() if elapsed >= 2.0 * length), "seconds")
    return _SECONDS[name], name


def format_dates(ax: Axes, panel: Panel, most: int | None = None) -> None:
    """Short dates, at most so many, in the time zone of the data, where times are datetimes."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    if panel.time_kind == "datetime":
        locator = AutoDateLocator(tz=panel.layout.tz, minticks=min(5, most or 5), maxticks=most)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=panel.layout.tz))


def log_scale(ax: Axes, which: str) -> None:
    """Logarithmic axis, "x" or "y", with plain numbers at 1, 2 and 5 times the powers of ten, or at these alone."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = ax.xaxis if which == "x" else ax.yaxis
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    low, high = axis.get_view_interval()
    is_long = low > 0 and high > 300.0 * low
    axis.set_major_locator(LogLocator(subs=(1.0,) if is_long else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def plain_text(label: Hashable) -> str:
    """A label of the data as matplotlib draws it letter by letter: no formula, and not left out of a legend."""
    text = str(label).replace("$", r"\$")
    return f"\u200b{text}" if text.startswith("_") else text


def draw_legend(ax: Axes) -> None:
    """Legend beside the axes, where neither data nor a title can lie; long ones go on in further columns."""
    n_columns = 1 + (len(ax.get_legend_handles_labels()[0]) - 1) // 20
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small", ncols=n_columns)

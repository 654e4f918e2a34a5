"""A fan chart: what was observed, what was forecast, and how sure the forecast was."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsode.errors import DataError, ParameterError
from tsode.frames.index import restore_times
from tsode.frames.labels import guess_label
from tsode.frames.panel import Panel
from tsode.frames.read import read_panel
from tsode.plots.event_ticks import draw_event_ticks, event_spans

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["axis_values", "band_levels", "choose", "history_dots", "label_time_axis", "plot_fan"]

DOTS: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 3.5, "color": "black"}
_SECONDS = {"days": 86400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0}


def plot_fan(
    history: Any,
    bands: Any,
    channel: Hashable = None,
    *,
    series: Hashable = None,
    truth: Any = None,
    events: Any = None,
    label: str | None = None,
    ax: Axes | None = None,
    id_col: Hashable = "unique_id",
    time_col: Hashable = "ds",
) -> Axes:
    """Draw the forecast of one channel of one series as a fan around its mean.

    Ask for `bands` on a dense grid of times that starts before the last observation: up to there a band is the
    forecast from what had been seen before that time, so it is narrow behind an observation and widens in a gap. A
    dashed line marks the last observation.

    Parameters
    ----------
    history : any container that fit reads
        Observations that the forecast has used: dots at their own times, from the first time in `bands` on.
    bands : any container that predict_interval returns
        All levels in it are drawn, e.g. of ``predict_interval(times=..., level=(50, 80, 95))``.
    channel : label, optional
        May be left out if `history` has one channel only.
    series : label, optional
        Id; may be left out if `history` has one series only.
    truth : any container that fit reads, optional
        Observations that the forecast has not used: circles, as far as `bands` goes.
    events : DataFrame or EventTable, optional
        Events at known times: ticks below the axes, bars for what lasts.
    label : str, optional
        What the vertical axis says, best with the unit; the default is the channel.
    ax : Axes, optional
        Where to draw; the default is a new figure.
    id_col, time_col : label
        Columns of long frames.

    Returns
    -------
    Axes
        ``ax.figure.savefig(...)`` writes the picture.

    Raises
    ------
    ParameterError
        If it is left open which channel or series is meant.
    DataError
        If the data have no such channel, series or intervals.
    """
    try:
        import matplotlib.pyplot as plt
        from matplotlib.colors import to_rgb
    except ImportError as error:
        raise ImportError("plot_fan draws with matplotlib: `pip install matplotlib`.") from error

    seen = read_panel(history, id_col=id_col, time_col=time_col)
    channel = choose(channel, seen.channels, "channel")
    series = choose(series, seen.ids, "series")
    forecast = read_panel(bands, id_col=id_col, time_col=time_col)
    levels = band_levels(forecast.channels, channel)
    names = [channel, *(f"{channel}-{end}-{level}" for level in levels for end in ("lo", "hi"))]
    times, columns = _series(forecast, series, names, "bands")
    if ax is None:
        ax = plt.subplots(figsize=(9.0, 4.5), layout="constrained")[1]

    x, xlabel, seconds = axis_values(times, forecast)
    hue = np.array(to_rgb("C0"))
    for number, level in enumerate(levels):
        paleness = 0.8 - 0.5 * number / len(levels)  # opaque shades: overlapping fans keep their colours
        color = tuple(paleness + (1.0 - paleness) * hue)
        low, high = columns[:, 1 + 2 * number], columns[:, 2 + 2 * number]
        ax.fill_between(x, low, high, color=color, linewidth=0.0, label=f"{level} %")
    ax.plot(x, columns[:, 0], color=tuple(0.7 * hue), linewidth=1.2, label="mean")

    history_dots(ax, history, series, channel, times, seconds, id_col, time_col)
    if truth is not None:
        later = read_panel(truth, id_col=id_col, time_col=time_col)
        later_times, after = _series(later, series, [channel], "truth")
        is_shown = (later_times >= times[0]) & (later_times <= times[-1]) & ~np.isnan(after[:, 0])
        circles = DOTS | {"markerfacecolor": "white"}
        ax.plot(
            axis_values(later_times[is_shown], later, seconds)[0], after[is_shown, 0], **circles, label="came later"
        )
    if events is not None:
        spans = event_spans(events, series, times[0], times[-1], id_col, time_col)
        starts, ends = (axis_values(one, forecast, seconds)[0] for one in spans)
        draw_event_ticks(ax, starts, ends, label="event")
    cutoff = seen.select([seen.ids.index(series)]).last_times[0]
    if cutoff is not None and times[0] < cutoff < times[-1]:
        ax.axvline(axis_values(np.array([cutoff]), seen, seconds)[0][0], color="0.5", linewidth=0.8, linestyle="--")

    label_time_axis(ax, forecast)
    ax.set(xlabel=xlabel, ylabel=str(channel) if label is None else label)
    ax.margins(x=0.01)
    ax.spines[["top", "right"]].set_visible(False)
    # above the axes, where no data can lie
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(levels) + 3, frameon=False, fontsize="small")
    return ax


def history_dots(
    ax: Axes,
    history: Any,
    series: Hashable,
    channel: Hashable,
    shown: np.ndarray,
    seconds: float | None,
    id_col: Hashable,
    time_col: Hashable,
) -> None:
    """Draw the observations of one channel of one series, between the first and last of the times `shown`."""
    seen = read_panel(history, id_col=id_col, time_col=time_col)
    times, values = _series(seen, series, [channel], "history")
    is_shown = (times >= shown[0]) & (times <= shown[-1]) & ~np.isnan(values[:, 0])
    ax.plot(axis_values(times[is_shown], seen, seconds)[0], values[is_shown, 0], **DOTS, label="observed")


def label_time_axis(ax: Axes, panel: Panel) -> None:
    """Dates as short as they can be, in the time zone of the panel; nothing for other times."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    if panel.time_kind == "datetime":
        locator = AutoDateLocator(tz=panel.layout.tz)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=panel.layout.tz))


def choose(wanted: Hashable, known: Sequence[Hashable], what: str) -> Hashable:
    if wanted is None and len(known) == 1:
        return known[0]
    shown = ", ".join(repr(k) for k in known[:5]) + (", ..." if len(known) > 5 else "")
    if wanted is None:
        raise ParameterError(f"history has {len(known)} {what} labels ({shown}): say which to draw with {what}=.")
    if wanted not in known:
        raise DataError(f"history has no {what} {wanted!r}.{guess_label(wanted, known)} It has {shown}.")
    return wanted


def band_levels(columns: Sequence[Hashable], channel: Hashable) -> list[str]:
    """Levels with both ends among the columns, the widest first."""
    ends = re.compile(re.escape(f"{channel}-lo-") + r"(\d+(\.\d+)?)")
    found = [match[1] for match in map(ends.fullmatch, map(str, columns)) if match]
    levels = [level for level in found if f"{channel}-hi-{level}" in columns]
    if channel not in columns or not levels:
        raise DataError(
            f"bands has the columns {list(columns)}, but a fan of {channel!r} needs {channel!r}, '{channel}-lo-80' and "
            f"'{channel}-hi-80' (or other levels): pass what predict_interval gave."
        )
    return sorted(levels, key=float, reverse=True)


def _series(panel: Panel, series: Hashable, columns: Sequence[Hashable], what: str) -> tuple[np.ndarray, np.ndarray]:
    """Times and the columns asked for of one series."""
    ids = [series] if panel.layout.kind in ("series", "wide") else panel.ids  # such containers carry no ids
    if series not in ids:
        raise DataError(f"{what} has no series {series!r}.{guess_label(series, ids)}")
    for name in columns:
        if name not in panel.channels:
            raise DataError(f"{what} has no column {name!r}.{guess_label(name, panel.channels)}")
    row = ids.index(series)
    return panel.times[row], panel.values[row][:, [panel.channels.index(name) for name in columns]]


def axis_values(times: np.ndarray, panel: Panel, seconds: float | None = None) -> tuple[Any, str, float | None]:
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

"""Fan chart: observations, and a forecast with its intervals."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tsode.errors import DataError
from tsode.frames.labels import guess_label
from tsode.frames.meeting import check_meeting
from tsode.frames.panel import Panel
from tsode.frames.read import read_panel
from tsode.plots.axis import choose, draw_legend, format_dates, plain_text, time_axis
from tsode.plots.event_ticks import draw_event_ticks, event_spans

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["DOTS", "band_levels", "draw_bands", "history_dots", "plot_fan", "series_columns"]

DOTS: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 3.5, "color": "black"}


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
    dashed line marks the last observation. The vertical axis holds what was observed, and the bands after it: bands
    before the first observations, of what was not known yet, may leave it.

    Parameters
    ----------
    history : any container that fit reads
        Observations that the forecast has used: dots at their own times, from the first time in `bands` on. Where that
        comes after them, those as long before the last one as `bands` goes beyond it.
    bands : any container that predict_interval returns
        All levels in it are drawn, e.g. of ``predict_interval(times=..., level=(50, 80, 95))``.
    channel : label, optional
        May be left out if `history` has one channel only.
    series : label, optional
        Id; may be left out if `history` has one series only.
    truth : any container that fit reads, optional
        Observations that the forecast has not used: circles, as far as `bands` goes.
    events : DataFrame or EventTable, optional
        Events at known times: ticks at the foot of the axes, bars for what lasts.
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
    except ImportError as error:
        raise ImportError("plot_fan draws with matplotlib: `pip install matplotlib`.") from error

    seen = read_panel(history, id_col=id_col, time_col=time_col)
    channel = choose(channel, seen.channels, "channel", "history")
    series = choose(series, seen.ids, "series", "history")
    forecast = read_panel(bands, id_col=id_col, time_col=time_col)
    levels = band_levels(forecast.channels, channel)
    names = [channel, *(f"{channel}-{end}-{level}" for level in levels for end in ("lo", "hi"))]
    times, columns = series_columns(forecast, series, names, "bands")
    if ax is None:
        ax = plt.subplots(figsize=(9.0, 4.5), layout="constrained")[1]

    is_shared = [one for one in ax.get_shared_y_axes().get_siblings(ax) if one.has_data()]
    limits = list(ax.get_ylim()) if is_shared else []
    x, xlabel, seconds = time_axis(times, forecast)
    draw_bands(ax, x, columns, levels)

    dots, values = history_dots(ax, history, series, channel, times, seconds, id_col, time_col)
    start = min([times[0], *dots[:1]])
    limits += [*values, *_after(dots, times, columns).ravel()]
    if truth is not None:
        later = read_panel(truth, id_col=id_col, time_col=time_col)
        later_times, after = series_columns(later, series, [channel], "truth")
        is_shown = (later_times >= start) & (later_times <= times[-1]) & ~np.isnan(after[:, 0])
        circles = DOTS | {"markerfacecolor": "white"}
        ax.plot(time_axis(later_times[is_shown], later, seconds)[0], after[is_shown, 0], **circles, label="came later")
        limits += list(after[is_shown, 0])
    if events is not None:
        spans = event_spans(events, series, seen, start, times[-1], id_col, time_col)
        starts, ends = (time_axis(side, forecast, seconds)[0] for side in spans)
        draw_event_ticks(ax, starts, ends, label="event")
    cutoff = seen.select([seen.ids.index(series)]).last_times[0]
    if cutoff is not None and start < cutoff < times[-1]:
        ax.axvline(time_axis(np.array([cutoff]), seen, seconds)[0][0], color="0.5", linewidth=0.8, linestyle="--")

    format_dates(ax, forecast)
    ax.set(xlabel=xlabel, ylabel=plain_text(channel) if label is None else label)
    ax.margins(x=0.01)
    low, high = np.nanmin(limits), np.nanmax(limits)
    if high > low:
        edge = 0.0 if is_shared else 0.05 * (high - low)
        ax.set_ylim(low - edge, high + edge)
    ax.spines[["top", "right"]].set_visible(False)
    draw_legend(ax)
    return ax


def draw_bands(ax: Axes, x: Any, columns: np.ndarray, levels: Sequence[str], label: str = "mean") -> None:
    """Draw a line within its bands: columns are the line, and then the low and high end of each level, widest first."""
    from matplotlib.colors import to_rgb

    hue = np.array(to_rgb("C0"))
    for number, level in enumerate(levels):
        paleness = 0.8 - 0.5 * number / len(levels)  # opaque shades: overlapping fans keep their colours
        color = tuple(paleness + (1.0 - paleness) * hue)
        low, high = columns[:, 1 + 2 * number], columns[:, 2 + 2 * number]
        ax.fill_between(x, low, high, color=color, linewidth=0.0, label=f"{level} %")
    ax.plot(x, columns[:, 0], color=tuple(0.7 * hue), linewidth=1.2, label=label)


def history_dots(
    ax: Axes,
    history: Any,
    series: Hashable,
    channel: Hashable,
    shown: np.ndarray,
    seconds: float | None,
    id_col: Hashable,
    time_col: Hashable,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the observations of one channel of one series that belong to forecasts at the times `shown`.

    These are the observations between the first and last of these times, or, where all came before them, those of as
    long a time before the last observation as the forecasts reach beyond it.

    Returns
    -------
    times, values : array[k]
        What was drawn.
    """
    panel = read_panel(history, id_col=id_col, time_col=time_col)
    times, values = series_columns(panel, series, [channel], "history")
    is_seen = ~np.isnan(values[:, 0])
    times, values = times[is_seen], values[is_seen, 0]
    is_shown = (times >= shown[0]) & (times <= shown[-1])
    if len(times) and times[-1] <= shown[0]:
        is_shown = times[-1] - times <= shown[-1] - times[-1]
    ax.plot(time_axis(times[is_shown], panel, seconds)[0], values[is_shown], **DOTS, label="observed")
    return times[is_shown], values[is_shown]


def _after(dots: np.ndarray, times: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The bands after the last of the dots; if none are, after the first of them; if there are no dots, all."""
    for moment in (*dots[-1:], *dots[:1]):
        if times[-1] > moment:
            return columns[times >= moment]
    return columns


def band_levels(columns: Sequence[Hashable], channel: Hashable) -> list[str]:
    """Levels with both ends among the columns, the widest first."""
    ends = re.compile(re.escape(f"{channel}-lo-") + r"(\d+(\.\d+)?)")
    lows = [match[1] for match in map(ends.fullmatch, map(str, columns)) if match]
    levels = [level for level in lows if f"{channel}-hi-{level}" in columns]
    if channel not in columns or not levels:
        raise DataError(
            f"bands has the columns {list(columns)}, but a fan of {channel!r} needs {channel!r}, '{channel}-lo-80' and "
            f"'{channel}-hi-80' (or other levels): pass what predict_interval gave."
        )
    return sorted(levels, key=float, reverse=True)


def series_columns(
    panel: Panel, series: Hashable, columns: Sequence[Hashable], where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Times of one series, and the columns named."""
    ids = [series] if panel.layout.kind in ("series", "wide") else panel.ids  # such containers carry no ids
    check_meeting([series], ids, f"{where} has no series {{}}", of=where)
    for name in columns:
        if name not in panel.channels:
            raise DataError(f"{where} has no column {name!r}.{guess_label(name, panel.channels)}")
    row = ids.index(series)
    return panel.times[row], panel.values[row][:, [panel.channels.index(name) for name in columns]]

"""Intensity of a point process over its events, and the forecast of the next one."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsode.errors import DataError
from tsode.frames.index import native_times
from tsode.frames.panel import Panel
from tsode.frames.read import read_panel
from tsode.frames.streams import read_streams
from tsode.plots.axis import choose, draw_legend, format_dates, plain_text, time_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_intensity"]


def plot_intensity(
    history: Any,
    rates: Any,
    *,
    series: Hashable = None,
    next_event: pd.DataFrame | None = None,
    label: str = "events per unit of time",
    ax: Axes | None = None,
    id_col: Hashable = "unique_id",
    time_col: Hashable = "ds",
    mark_col: Hashable = "mark",
) -> Axes:
    """Draw the intensities of one stream on top of each other, so that the upper edge is the total, over its events.

    Ask for `rates` on a dense grid of times: up to the last event an intensity is what the events before it said, and
    it jumps at each. Events are ticks in the colour of their mark, below the axis.

    Parameters
    ----------
    history : DataFrame
        Events, as in ``PointProcessForecaster.fit``.
    rates : DataFrame
        What ``predict_intensity(times=...)`` gave: one column a mark.
    series : label, optional
        Id; may be left out if `rates` has one stream only.
    next_event : DataFrame, optional
        What ``predict_next`` gave: a bar from the lowest to the highest of its quantiles, with a dot at the middle one.
    label : str
        What the vertical axis says, best with the unit.
    ax : Axes, optional
        Where to draw; the default is a new figure.
    id_col, time_col, mark_col : label

    Returns
    -------
    Axes

    Raises
    ------
    DataError, ParameterError
        If the stream is not in the data, or it is left open which is meant.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_intensity draws with matplotlib: `pip install matplotlib`.") from error

    panel = read_panel(rates, id_col=id_col, time_col=time_col)
    series = choose(series, panel.ids, "series", "rates")
    row = panel.ids.index(series)
    times, values, marks = panel.times[row], panel.values[row], panel.channels
    events = read_streams(
        history, id_col=id_col, time_col=time_col, mark_col=mark_col, marks=None if mark_col is None else marks,
        name="history",
    )  # fmt: skip
    place = events.ids.index(choose(series, events.ids, "series", "history"))
    if ax is None:
        ax = plt.subplots(figsize=(9.0, 4.0), layout="constrained")[1]

    x, xlabel, seconds = time_axis(times, panel)
    colors = [f"C{k % 10}" for k in range(len(marks))]
    ax.stackplot(x, values.T, colors=colors, alpha=0.75, linewidth=0.0, labels=[plain_text(mark) for mark in marks])
    ax.plot(x, values.sum(axis=1), color="0.2", linewidth=0.8)
    top = 1.08 * float(np.nanmax(values.sum(axis=1)))
    ax.set_ylim(-0.09 * top, top)
    ax.axhline(0.0, color="0.2", linewidth=0.8)

    is_shown = (events.times[place] >= times[0]) & (events.times[place] <= times[-1])
    seen, codes = events.times[place][is_shown], events.codes[place][is_shown]
    for code in np.unique(codes):
        at = time_axis(seen[codes == code], panel, seconds)[0]
        ax.vlines(at, -0.08 * top, -0.015 * top, color=colors[code], linewidth=1.6)
    if next_event is not None:
        _draw_next(ax, next_event, series, 0.96 * top, panel, seconds, id_col, time_col)
    format_dates(ax, panel)
    ax.set(xlabel=xlabel, ylabel=label)
    ax.margins(x=0.01)
    ax.spines[["top", "right"]].set_visible(False)
    draw_legend(ax)
    return ax


def _draw_next(
    ax: Axes, table: Any, series: Hashable, y: float, panel: Panel, seconds: Any, id_col: Hashable, time_col: Hashable
) -> None:
    """A bar over the quantiles of the next event, and a dashed line where the forecast starts."""
    rows = table[table[id_col] == series]
    levels = sorted(float(name[7:]) for name in map(str, table.columns) if name.startswith("wait-q-"))
    if not len(rows) or not levels:
        raise DataError(f"next_event has no row for series {series!r} with quantiles: pass what predict_next gave.")
    row = rows.iloc[0]
    moments = [row[time_col], *(row[time_col] + row[f"wait-q-{level:g}"] for level in levels)]
    start, *at = time_axis(native_times(pd.Index(moments), "next_event")[0], panel, seconds)[0]
    ax.vlines(start, 0.0, y, color="0.5", linewidth=0.8, linestyle="--")
    share = f"next event, {100.0 * (levels[-1] - levels[0]):.0f} %"
    ax.hlines(y, at[0], at[-1], color="black", linewidth=2.0, label=share)
    ax.plot(at[len(levels) // 2], y, marker="o", color="black", markersize=5.0, linestyle="none")

"""Plume of an ensemble: sampled paths as thin lines, their mean, and what was observed."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsode.errors import DataError
from tsode.frames.panel import Panel
from tsode.frames.read import read_panel
from tsode.plots.axis import choose, draw_legend, format_dates, plain_text, time_axis
from tsode.plots.fan import DOTS, history_dots, series_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_plume"]


def plot_plume(
    history: Any,
    paths: pd.DataFrame,
    channel: Hashable = None,
    *,
    series: Hashable = None,
    truth: Any = None,
    label: str | None = None,
    ax: Axes | None = None,
    id_col: Hashable = "unique_id",
    time_col: Hashable = "ds",
) -> Axes:
    """Draw the members of an ensemble for one channel of one series: what bands do not show, how single paths go.

    Parameters
    ----------
    history : any container that fit reads
        Observations that the forecast has used: dots, as in `plot_fan`.
    paths : DataFrame
        Joint paths, as `sample` returns them; all are drawn, and their mean.
    channel : label, optional
        May be left out if `history` has one channel only.
    series : label, optional
        Id; may be left out if `history` has one series only.
    truth : any container that fit reads, optional
        Observations that the forecast has not used: circles, as far as `paths` go.
    label : str, optional
        What the vertical axis says, best with the unit; the default is the channel.
    ax : Axes, optional
        Where to draw; the default is a new figure.
    id_col, time_col : label
        Columns of long frames.

    Returns
    -------
    Axes

    Raises
    ------
    ParameterError
        If it is left open which channel or series is meant.
    DataError
        If the data have no such channel or series, or `paths` are none.
    """
    try:
        import matplotlib.pyplot as plt
        from matplotlib.collections import LineCollection
    except ImportError as error:
        raise ImportError("plot_plume draws with matplotlib: `pip install matplotlib`.") from error

    seen = read_panel(history, id_col=id_col, time_col=time_col)
    channel = choose(channel, seen.channels, "channel", "history")
    series = choose(series, seen.ids, "series", "history")
    panel, times, members = _members(paths, series, channel, id_col, time_col)
    if ax is None:
        ax = plt.subplots(figsize=(9.0, 4.5), layout="constrained")[1]
    x, xlabel, seconds = time_axis(times, panel)
    history_dots(ax, history, series, channel, times, seconds, id_col, time_col)
    if truth is not None:
        later = read_panel(truth, id_col=id_col, time_col=time_col)
        later_times, after = series_columns(later, series, [channel], "truth")
        is_shown = (later_times >= times[0]) & (later_times <= times[-1]) & ~np.isnan(after[:, 0])
        circles = DOTS | {"markerfacecolor": "white", "zorder": 4}
        ax.plot(time_axis(later_times[is_shown], later, seconds)[0], after[is_shown, 0], **circles, label="came later")
    ax.plot(x, members.mean(axis=0), color="C3", linewidth=1.6, zorder=3, label="mean")  # dates are known to the axis
    at = np.asarray(ax.convert_xunits(x), dtype=float)
    lines = np.stack([np.broadcast_to(at, members.shape), members], axis=-1)
    opacity = float(np.clip(12.0 / len(members), 0.06, 0.6))
    ax.add_collection(LineCollection(list(lines), colors="C0", linewidths=0.7, alpha=opacity, zorder=1))
    ax.plot([], [], color="C0", linewidth=0.7, label=f"{len(members)} members")
    ax.autoscale_view()
    format_dates(ax, panel)
    ax.set(xlabel=xlabel, ylabel=plain_text(channel) if label is None else label)
    ax.margins(x=0.01)
    ax.spines[["top", "right"]].set_visible(False)
    draw_legend(ax)
    return ax


def _members(
    paths: Any, series: Hashable, channel: Hashable, id_col: Hashable, time_col: Hashable
) -> tuple[Panel, np.ndarray, np.ndarray]:
    """Panel of the first path, times (m,) of the series in it, and the paths (s m) of the channel."""
    if not isinstance(paths, pd.DataFrame) or "sample" not in paths.columns or not len(paths):
        raise DataError("paths has no column 'sample': pass what sample(...) gave.")
    number = paths["sample"].to_numpy()
    panels = [
        read_panel(paths[number == k].drop(columns="sample"), id_col=id_col, time_col=time_col)
        for k in pd.unique(number)
    ]
    columns = [series_columns(panel, series, [channel], "paths") for panel in panels]
    return panels[0], columns[0][0], np.stack([values[:, 0] for _, values in columns])

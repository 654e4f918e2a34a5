"""Plots of sensitivities: what past observations and events count in a forecast, and how fast an influence decays."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsode.errors import DataError
from tsode.frames.read import read_panel
from tsode.plots.axis import choose, draw_legend, format_dates, plain_text, time_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_influence", "plot_sensitivity"]

STEMS = {"value": "o", "rate": "s"}
LEAST = 1e-6  # of the largest influence that is drawn: what is less is nothing


def plot_sensitivity(
    table: pd.DataFrame, channel: Hashable = None, *, series: Hashable = None, forecast_time: Any = None,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw the derivatives of one forecast by each past observation and event, as stems along the history.

    Dots are observations, in the colour of their channel; triangles amounts of events, squares changes of a rate. A
    dashed line marks the time of the forecast.

    Parameters
    ----------
    table : DataFrame
        Of `tsode.diagnostics.sensitivity`.
    channel : label, optional
        Which forecasts; may be left out if there is one channel.
    series : label, optional
        May be left out if there is one series.
    forecast_time : time, optional
        As in the table; the default is the first of the series.
    ax : Axes, optional
        Where to draw, such as below the axes of `plot_fan` with which it shares the time; default a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        If the table has no such rows.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_sensitivity draws with matplotlib: `pip install matplotlib`.") from error
    series = choose(series, list(table["series"].unique()), "series", "table")
    own = table[table["series"] == series]
    channel = choose(channel, list(own["channel"].unique()), "channel", "table")
    own = own[own["channel"] == channel]
    when = own["forecast_time"].min() if forecast_time is None else forecast_time
    own = own[own["forecast_time"] == when]
    if not len(own):
        raise DataError(f"The table has no forecast of {series!r} at {when}: it has {table['forecast_time'].unique()}.")
    if ax is None:
        ax = plt.subplots(figsize=(9.0, 3.5), layout="constrained")[1]
    times = pd.Index(pd.concat([own["time"], own["forecast_time"].head(1)])).unique().sort_values()
    panel = read_panel(pd.Series(np.zeros(len(times)), index=times, name="derivative"))
    x, xlabel, _ = time_axis(panel.times[0], panel)
    place = dict(zip(times, x))
    ax.axhline(0.0, color="0.6", linewidth=0.8)
    for number, ((source, kind), part) in enumerate(own.groupby(["source", "kind"], sort=False)):
        at, color = [place[time] for time in part["time"]], f"C{number % 10}"
        label = plain_text(source) if kind in ("value", source) else f"{kind} {plain_text(source)}"
        ax.vlines(at, 0.0, part["derivative"], color=color, linewidth=1.0)
        ax.plot(
            at,
            part["derivative"],
            linestyle="none",
            marker=STEMS.get(kind, "^"),
            markersize=4,
            color=color,
            label=label,
        )
    ax.axvline(place[when], color="0.5", linewidth=0.8, linestyle="--")
    format_dates(ax, panel)
    ax.set(xlabel=xlabel, ylabel=f"d forecast of {plain_text(channel)} / d past")
    ax.spines[["top", "right"]].set_visible(False)
    draw_legend(ax)
    return ax


def plot_influence(table: pd.DataFrame, *, half_life: float | None = None, ax: Axes | None = None) -> Axes:
    """Draw how the influence of one observation on predictions of its own channel decays.

    Pale lines are series, bold ones the median of each channel over series, all as sizes on a scale of logarithms.

    Parameters
    ----------
    table : DataFrame
        Of `tsode.diagnostics.influence`.
    half_life : float, optional
        A dashed line that falls by half in this time, such as ``forgetting(forecaster).attrs["half_life"]``.
    ax : Axes, optional
        Where to draw; the default is a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        If no prediction of an observation's own channel is in the table, or none depends on it.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_influence draws with matplotlib: `pip install matplotlib`.") from error
    lag = next(name for name in table.columns if str(name).startswith("lag_"))
    own = table[table["source"] == table["channel"]]
    own = own.assign(size=own["derivative"].abs())
    largest = own["size"].max() if len(own) else 0.0
    if not largest > 0.0:
        raise DataError(
            "No prediction of its own channel depends on an observation in the table: ask for shorter lags=."
        )
    own = own.assign(size=own["size"].where(own["size"] > LEAST * largest))
    if ax is None:
        ax = plt.subplots(figsize=(7.0, 4.0), layout="constrained")[1]
    for number, (channel, part) in enumerate(own.groupby("channel", sort=False)):
        color = f"C{number % 10}"
        for _, one in part.groupby("series", sort=False):
            ax.plot(one[lag], one["size"], color=color, linewidth=0.6, alpha=0.3)
        middle = part.groupby(lag)["size"].median()
        ax.plot(middle.index, middle, color=color, linewidth=2.0, marker="o", markersize=3, label=plain_text(channel))
    if half_life is not None and np.isfinite(half_life) and half_life > 0.0:
        first = own.groupby(lag)["size"].median().dropna()
        x = np.linspace(first.index[0], own[lag].max(), 50)
        y = first.iloc[0] * 0.5 ** ((x - x[0]) / half_life)
        is_shown = y > LEAST * largest
        ax.plot(x[is_shown], y[is_shown], color="0.4", linestyle="--", label=f"half-life {half_life:.3g}")
    unit = " (hours)" if lag == "lag_hours" else ""
    ax.set(yscale="log", xlabel=f"time since the observation{unit}", ylabel="|d prediction / d observation|")
    ax.spines[["top", "right"]].set_visible(False)
    draw_legend(ax)
    return ax

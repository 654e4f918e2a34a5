"""Crossing plots: probability of having crossed a level along time, and whether crossings come as foretold."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsode.errors import DataError
from tsode.metrics import brier_decomposition, brier_score
from tsode.plots.axis import choose, draw_legend, plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_crossing", "plot_crossing_calibration"]


def plot_crossing(
    forecast: Any,
    *,
    series: Hashable = None,
    observed: Any = None,
    first: bool = False,
    ax: Axes | None = None,
    id_col: Hashable = "unique_id",
    time_col: Hashable = "ds",
) -> Axes:
    """Draw the probability that each level has been crossed before each time, for one series.

    Bands are two Monte Carlo errors either side; ticks on the curves are the quantiles of the first time that are
    known. Asked about at many times, curves are smooth: ``horizon=`` in `predict_crossing` gives evenly spaced ones.

    Parameters
    ----------
    forecast : CrossingForecast
        What ``predict_crossing`` returned.
    series : label, optional
        Id; may be left out if there is one series only.
    observed : time or dict of level name to time, optional
        When it was crossed: a vertical line.
    first : bool
        Draw the probability that a level has been crossed and was the first of them to be instead.
    ax : Axes, optional
        Where to draw; the default is a new figure.
    id_col, time_col : label

    Returns
    -------
    Axes

    Raises
    ------
    DataError, ParameterError
        If `series` or a level of `observed` is not in the forecast.
    """
    try:
        import matplotlib.pyplot as plt
        from matplotlib.ticker import PercentFormatter
    except ImportError as error:
        raise ImportError("plot_crossing draws with matplotlib: `pip install matplotlib`.") from error
    table = forecast.first if first else forecast.probability
    tables = [table, forecast.first_times, forecast.starts]
    if id_col in table.columns:
        series = choose(series, list(pd.unique(table[id_col])), "series", "forecast")
        tables = [one[one[id_col] == series] for one in tables]
    table, times, starts = tables
    name = "incidence" if first else "probability"
    if ax is None:
        ax = plt.subplots(figsize=(8.0, 4.0), layout="constrained")[1]
    for number, (level, start) in enumerate(starts.groupby("level", sort=False)):
        color, rows = f"C{number}", table[table["level"] == level]
        x = pd.concat([start[time_col], rows[time_col]], ignore_index=True)
        y, se = (np.concatenate([[0.0], rows[column]]) for column in (name, "error"))
        se[0] = 0.0
        value, direction = start["value"].iloc[0], start["direction"].iloc[0]
        arrow = {"up": "↑", "down": "↓", "either": "↕"}[direction]
        label = (
            f"{arrow} {value:.4g}" if level in ("level", f"{value:g}") else f"{plain_text(level)}: {arrow} {value:.4g}"
        )
        if start["beyond"].iloc[0] > 0.0:
            label += f" ({start['beyond'].iloc[0]:.0%} beyond at the start)"
        ax.fill_between(x, (y - 2 * se).clip(0, 1), (y + 2 * se).clip(0, 1), color=color, alpha=0.25, linewidth=0)
        ax.plot(x, y, color=color, linewidth=1.5, label=label)
        known = times[(times["level"] == level) & ~times["is_censored"] & times[time_col].notna()]
        if not first:
            ax.plot(known[time_col], known["quantile"], color=color, marker="|", markersize=11, linestyle="none")
        at = observed.get(level) if isinstance(observed, dict) else observed
        if at is not None:
            shown = "observed" if number == 0 or isinstance(observed, dict) else "_nolegend_"
            ax.axvline(
                at, color=color if isinstance(observed, dict) else "0.3", linestyle="--", linewidth=1.0, label=shown
            )
    unknown = [level for level in observed if level not in set(starts["level"])] if isinstance(observed, dict) else []
    if unknown:
        raise DataError(f"observed= has the level {unknown[0]!r}, but the forecast has {list(starts['level'])}.")
    what = "crossed first" if first else "crossed"
    ax.set(ylim=(0.0, 1.02), ylabel=f"{plain_text(forecast.channel)}: {what} by then")
    is_clock = pd.api.types.is_datetime64_any_dtype(table[time_col])
    ax.set_xlabel("" if is_clock else plain_text(time_col))
    if is_clock:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        zone = getattr(table[time_col].dtype, "tz", None)
        locator = AutoDateLocator(tz=zone)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=zone))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.margins(x=0.01)
    ax.spines[["top", "right"]].set_visible(False)
    draw_legend(ax)
    return ax


def plot_crossing_calibration(
    happened: Any, probability: Any, *, n_bins: int = 10, label: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw how often a crossing came against the probability that it was given (reliability diagram).

    On the diagonal, probabilities are honest. Bins hold equal counts; bars are where 95 % of the shares of honest
    probabilities would lie, were the crossings independent of each other. Grey steps tell how often each probability
    was said.

    Parameters
    ----------
    happened : array[n]
        1 or True where it was crossed before the time asked about, 0 where not; NaN = not known.
    probability : array[n]
        As in the table ``probability`` of `predict_crossing`.
    n_bins : int
    label : str, optional
        Of the curve, before its Brier score.
    ax : Axes, optional
        Where to draw; the default is a new figure.

    Returns
    -------
    Axes

    See Also
    --------
    tsode.metrics.brier_decomposition : the score, and the parts of it that are drawn here.
    """
    try:
        import matplotlib.pyplot as plt
        from matplotlib.ticker import PercentFormatter
    except ImportError as error:
        raise ImportError("plot_crossing_calibration draws with matplotlib: `pip install matplotlib`.") from error
    y, p = np.asarray(happened, dtype=float).reshape(-1), np.asarray(probability, dtype=float).reshape(-1)
    if y.shape != p.shape:
        raise DataError(f"happened= has {len(y)} entries and probability= {len(p)}: give one of each for a crossing.")
    y, p = y[~np.isnan(y)], p[~np.isnan(y)]
    score, parts = brier_score(y, p), brier_decomposition(y, p, n_bins)  # which check what came
    if ax is None:
        ax = plt.subplots(figsize=(5.5, 5.5), layout="constrained")[1]
    bins = np.array_split(np.argsort(p, kind="stable"), min(n_bins, len(p)))
    said, came = (np.array([x[rows].mean() for rows in bins]) for x in (p, y))
    sd = np.array([np.sqrt((p[rows] * (1 - p[rows])).sum()) / len(rows) for rows in bins])
    low, high = (said - 1.96 * sd).clip(0, 1), (said + 1.96 * sd).clip(0, 1)
    count, edges = np.histogram(p, np.linspace(0.0, 1.0, 21))
    ax.stairs(0.2 * count / max(count.max(), 1), edges, fill=True, color="0.92", label="how often it was said")
    ax.plot([0.0, 1.0], [0.0, 1.0], color="0.5", linewidth=0.8, linestyle="--", label="honest")
    ax.vlines(said, low, high, color="0.7", linewidth=3.0, label="by chance (95 %)")
    name = f"{plain_text(label)}: " if label else ""
    ax.plot(
        said, came, color="C0", marker="o", markersize=4, linewidth=1.2,
        label=f"{name}Brier {score:.3f} (reliability {parts.reliability:.4f}, resolution {parts.resolution:.3f}, "
        f"n = {len(p)})",
    )  # fmt: skip
    ax.set(xlabel="probability of crossing", ylabel="crossed", xlim=(0.0, 1.0), ylim=(0.0, 1.0), aspect="equal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False, fontsize="small")
    return ax

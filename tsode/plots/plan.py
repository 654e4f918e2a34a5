"""Plan plot: a channel under a plan and under nothing more, with the range it is to keep and the doses."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np

from tsode.errors import ParameterError
from tsode.frames.read import read_panel
from tsode.plots.axis import choose, draw_legend, format_dates, plain_text, time_axis
from tsode.plots.event_ticks import draw_event_ticks, event_spans
from tsode.plots.fan import band_levels, draw_bands, history_dots, series_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_plan"]


def plot_plan(
    plan: Any,
    channel: Hashable = None,
    *,
    target: Any = None,
    limit: Any = None,
    history: Any = None,
    label: str | None = None,
    ax: Axes | None = None,
    id_col: Hashable = "unique_id",
    time_col: Hashable = "ds",
) -> Axes:
    """Draw one channel under a plan, with bands over its draws, beside what doing nothing more leads to.

    Parameters
    ----------
    plan : Plan
        From `tsode.control.plan`.
    channel : label, optional
        May be left out if there is one only.
    target : TargetRange, optional
        Shaded, in its window.
    limit : ChanceLimit, optional
        A line.
    history : any container that fit reads, optional
        Observations so far: dots.
    label : str, optional
        What the vertical axis says, best with the unit.
    ax : Axes, optional
        Where to draw; the default is a new figure.
    id_col, time_col : label

    Returns
    -------
    Axes
        ``ax.figure.savefig(...)`` writes the picture.

    Raises
    ------
    ParameterError
        If it is left open which channel is meant, or what is drawn is no plan.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_plan draws with matplotlib: `pip install matplotlib`.") from error
    if not hasattr(plan, "without"):
        raise ParameterError(f"plot_plan draws what tsode.control.plan gave, not a {type(plan).__name__}.")
    names = [name for name in plan.forecast.columns if f"{name}-lo-90" in plan.forecast.columns]
    channel = choose(channel, names, "channel", "plan")
    if ax is None:
        ax = plt.subplots(figsize=(9.0, 4.5), layout="constrained")[1]
    under, before = (read_panel(table, id_col=id_col, time_col=time_col) for table in (plan.forecast, plan.without))
    levels = band_levels(under.channels, channel)
    columns = [channel, *(f"{channel}-{end}-{level}" for level in levels for end in ("lo", "hi"))]
    series = under.ids[0]
    times, planned = series_columns(under, series, columns, "forecast")
    _, nothing = series_columns(before, before.ids[0], columns, "without")
    x, xlabel, seconds = time_axis(times, under)

    def at(value: Any) -> Any:
        panel_times = np.array([value]).astype(times.dtype)
        return time_axis(panel_times, under, seconds)[0][0]

    if target is not None and target.channel == channel:
        _shade(ax, target, x, at)
    ax.fill_between(x, nothing[:, 1], nothing[:, 2], color="0.85", linewidth=0.0, label=f"nothing more, {levels[0]} %")
    ax.plot(x, nothing[:, 0], color="0.55", linewidth=1.0)
    draw_bands(ax, x, planned, levels, label="plan, mean")
    if limit is not None and limit.channel == channel:
        height = limit.above if limit.above is not None else limit.below
        ax.axhline(height, color="C3", linewidth=1.0, linestyle="--", label="limit")
    start = times[0]
    if history is not None:
        seen = read_panel(history, id_col=id_col, time_col=time_col)
        first, _ = series_columns(seen, plan.series, [channel], "history")
        start = min([start, *first[:1]])
        history_dots(ax, history, plan.series, channel, np.array([start, times[-1]]), seconds, id_col, time_col)
    if plan.events is not None and len(plan.events):
        given = plan.events if id_col in plan.events.columns else plan.events.assign(**{str(id_col): series})
        starts, ends = event_spans(given, series, under, start, times[-1], id_col, time_col)
        x_of = [time_axis(side, under, seconds)[0] for side in (starts, ends)]
        draw_event_ticks(ax, x_of[0], x_of[1], label="dose")
    format_dates(ax, under)
    ax.set(xlabel=xlabel, ylabel=plain_text(channel) if label is None else label)
    ax.margins(x=0.01)
    ax.spines[["top", "right"]].set_visible(False)
    draw_legend(ax)
    return ax


def _shade(ax: Axes, target: Any, x: Any, at: Any) -> None:
    """Shade a target range in its window."""
    first, last = (None, None) if target.between is None else target.between
    left, right = x[0] if first is None else at(first), x[-1] if last is None else at(last)
    low = target.low if np.isfinite(target.low) else ax.get_ylim()[0]
    high = target.high if np.isfinite(target.high) else ax.get_ylim()[1]
    ax.fill_between([left, right], low, high, color="C2", alpha=0.15, linewidth=0.0, zorder=0, label="target")

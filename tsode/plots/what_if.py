"""Scenario plot: forecasts under several event tables, or their differences."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from tsode.errors import DataError, ParameterError
from tsode.frames.read import read_panel
from tsode.plots.axis import choose, draw_legend, format_dates, plain_text, time_axis
from tsode.plots.event_ticks import draw_event_ticks, event_spans
from tsode.plots.fan import band_levels, history_dots

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_what_if"]


def plot_what_if(
    answer: pd.DataFrame,
    channel: Hashable,
    *,
    series: Hashable = None,
    difference: bool = False,
    history: Any = None,
    events: Mapping[str, Any] | None = None,
    label: str | None = None,
    ax: Axes | None = None,
    id_col: Hashable = "unique_id",
    time_col: Hashable = "ds",
) -> Axes:
    """Draw the forecasts of one channel of one series under every scenario, each with its widest band.

    Parameters
    ----------
    answer : DataFrame
        What ``what_if`` returned.
    channel : label
    series : label, optional
        Id; may be left out if there is one series only.
    difference : bool
        Draw the paired differences from the first scenario instead.
    history : any container that fit reads, optional
        Observations that the forecasts have used: dots.
    events : dict of scenario to events, optional
        Ticks below the axes in the colour of the scenario, bars for what lasts.
    label : str, optional
        What the vertical axis says, best with the unit.
    ax : Axes, optional
        Where to draw; the default is a new figure.
    id_col, time_col : label

    Returns
    -------
    Axes
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_what_if draws with matplotlib: `pip install matplotlib`.") from error
    if "scenario" not in answer.columns:
        raise DataError("There is no column 'scenario': pass what what_if returned.")
    if difference and f"{channel}-diff" not in answer.columns:
        raise DataError(f"There is no column '{channel}-diff': pass what what_if returned.")
    name = f"{channel}-diff" if difference else channel
    if ax is None:
        ax = plt.subplots(figsize=(9.0, 4.5), layout="constrained")[1]
    scenarios = list(pd.unique(answer["scenario"]))
    unknown = [key for key in events or {} if key not in scenarios]
    if unknown:
        raise ParameterError(f"events= has the scenario {unknown[0]!r}, but the answer has {scenarios}.")
    drawn = scenarios[1:] if difference else scenarios
    for number, scenario in enumerate(drawn, start=len(scenarios) - len(drawn)):
        part = answer[answer["scenario"] == scenario].drop(columns="scenario")
        panel = read_panel(part, id_col=id_col, time_col=time_col)
        series = choose(series, panel.ids, "series", "answer")
        row = panel.ids.index(series)
        times, values = panel.times[row], panel.values[row]
        level = band_levels(panel.channels, name)[0]
        low, high, mean = (
            values[:, panel.channels.index(column)] for column in (f"{name}-lo-{level}", f"{name}-hi-{level}", name)
        )
        x, xlabel, seconds = time_axis(times, panel)
        ax.fill_between(x, low, high, color=f"C{number}", alpha=0.25, linewidth=0.0)
        ax.plot(x, mean, color=f"C{number}", linewidth=1.5, label=f"{plain_text(scenario)} ({level} %)")
        if events is not None and scenario in events and events[scenario] is not None:
            spans = event_spans(events[scenario], series, panel, times[0], times[-1], id_col, time_col)
            starts, ends = (time_axis(side, panel, seconds)[0] for side in spans)
            draw_event_ticks(ax, starts, ends, row=number, color=f"C{number}")
    if history is not None and not difference:
        history_dots(ax, history, series, channel, times, seconds, id_col, time_col)
    if difference:
        ax.axhline(0.0, color="0.6", linewidth=0.8)
    format_dates(ax, panel)
    label = plain_text(channel) if label is None else label
    ax.set(xlabel=xlabel, ylabel=f"difference in {label}" if difference else label)
    ax.margins(x=0.01)
    ax.spines[["top", "right"]].set_visible(False)
    draw_legend(ax)
    return ax

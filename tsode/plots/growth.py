"""Growth of small errors along a forecast, and the horizon at which they have grown too far."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tsode.errors import ParameterError
from tsode.frames.read import read_panel
from tsode.plots.axis import choose, draw_legend, format_dates, log_scale, time_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_growth"]


def plot_growth(
    table: pd.DataFrame,
    *,
    series: Hashable = None,
    tolerance: float = 100.0,
    fan: Axes | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw by how much the worst small error of a state has grown along the forecast of a series.

    Parameters
    ----------
    table : DataFrame
        What `tsode.stability.finite_time_exponents` gave of a forecaster: its largest singular values, with bands where
        there are draws from a posterior.
    series : label, optional
        Id; may be left out if there is one only.
    tolerance : float
        By which factor an error may grow: a line, and a mark at the time when it has first grown by as much.
    fan : Axes, optional
        Of `plot_fan`: the mark is drawn there too.
    ax : Axes, optional
        Where to draw; the default is a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    ParameterError
        If the table is none of a forecaster, or it is left open which series is meant.

    Examples
    --------
    >>> figure, (above, below) = plt.subplots(2, sharex=True)  # doctest: +SKIP
    >>> plot_fan(history, bands, "x", ax=above)  # doctest: +SKIP
    >>> plot_growth(finite_time_exponents(forecaster), fan=above, ax=below)  # doctest: +SKIP
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_growth draws with matplotlib: `pip install matplotlib`.") from error
    if not {"lead", "log_growth"} <= set(table.columns):
        raise ParameterError(
            f"The table has the columns {list(table.columns)}, but a growth along a forecast needs 'lead' and "
            "'log_growth': pass what finite_time_exponents(forecaster) gave."
        )
    if not tolerance > 1:
        raise ParameterError(f"tolerance={tolerance} must be above 1, the size of an error at the start.")
    key, time = table.columns[:2]
    chosen = choose(series, table[key].drop_duplicates().tolist(), "series", "table")
    part = table[table[key] == chosen]
    panel = read_panel(part[[key, time, "log_growth"]], id_col=key, time_col=time)
    # an error has its own size at the time of the last row
    times = np.concatenate([panel.times[0][:1] - part["lead"].to_numpy()[:1], panel.times[0]])
    if ax is None:
        ax = plt.subplots(figsize=(9.0, 3.5), layout="constrained")[1]
    x, xlabel, seconds = time_axis(times, panel)

    def curve(name: str) -> np.ndarray:
        return np.exp(np.concatenate([[0.0], part[name].to_numpy(dtype=float)]))

    if "log_growth_q05" in part.columns:
        band = curve("log_growth_q05"), curve("log_growth_q95")
        ax.fill_between(x, *band, color="C3", alpha=0.25, linewidth=0.0, label="5 to 95 % of the posterior")
    ax.plot(x, curve("log_growth"), color="C3", linewidth=1.4, label="growth of a small error")
    ax.axhline(tolerance, color="0.5", linewidth=0.8, linestyle=":")
    log_scale(ax, "y")
    reached = np.flatnonzero(curve("log_growth") >= tolerance)
    if len(reached):
        place = int(reached[0])
        logs = np.log(curve("log_growth")[place - 1 : place + 1])
        share = float((np.log(tolerance) - logs[0]) / (logs[1] - logs[0]))
        mark = time_axis((times[place - 1] + share * (times[place] - times[place - 1]))[None], panel, seconds)[0][0]
        for each in [ax] if fan is None else [ax, fan]:
            each.axvline(mark, color="C3", linewidth=1.0, linestyle="--", label=f"grown {tolerance:.3g} times")
            draw_legend(each)
    format_dates(ax, panel)
    ax.set(xlabel=xlabel, ylabel="times as large")
    ax.margins(x=0.01)
    ax.spines[["top", "right"]].set_visible(False)
    draw_legend(ax)
    return ax

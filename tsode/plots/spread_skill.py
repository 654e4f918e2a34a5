"""Spread against skill: the claimed size of errors beside their size, on a diagonal where forecasts are right."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tsode.errors import DataError
from tsode.plots.axis import choose, draw_legend, plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_spread_skill"]


def plot_spread_skill(table: pd.DataFrame, channel: Hashable = None, *, ax: Axes | None = None) -> Axes:
    """Draw a table of `tsode.diagnostics.spread_skill` for one channel: each bin a point, with its lead beside it.

    Points above the diagonal have larger errors than the forecasts claim. Bars are two standard errors of the ratio.

    Parameters
    ----------
    table : DataFrame
    channel : label, optional
        May be left out if the table has one channel only.
    ax : Axes, optional
        Where to draw; the default is a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        If the table is none of spread and skill, or has no such channel.
    ParameterError
        If it is left open which channel is meant.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_spread_skill draws with matplotlib: `pip install matplotlib`.") from error
    if not {"channel", "spread", "skill", "ratio", "ratio_se"} <= set(table.columns):
        raise DataError(f"The table has the columns {list(table.columns)}: pass what spread_skill gave.")
    channel = choose(channel, table["channel"].drop_duplicates().tolist(), "channel", "table")
    table = table[table["channel"] == channel]
    spread, skill = table["spread"].to_numpy(), table["skill"].to_numpy()
    bars = 2.0 * skill * np.nan_to_num((table["ratio_se"] / table["ratio"]).to_numpy())
    if ax is None:
        ax = plt.subplots(figsize=(6.0, 4.5), layout="constrained")[1]
    reach = 1.08 * max(spread.max(), (skill + bars).max())
    ax.plot([0.0, reach], [0.0, reach], color="0.5", linewidth=0.8, linestyle="--", label="as claimed")
    ax.errorbar(spread, skill, bars, color="C0", marker="o", markersize=4.5, linewidth=1.0, label="forecasts")
    for lead, x, y in zip(table["lead"], spread, skill):
        is_length = isinstance(lead, pd.Timedelta)
        said = str(lead.round("1s")).replace("0 days ", "") if is_length else f"{lead:.3g}"
        ax.annotate(said, (x, y), xytext=(5, -9), textcoords="offset points", fontsize="x-small", color="0.3")
    ax.plot([], [], " ", label="numbers: mean lead")
    ax.set(xlim=(0.0, reach), ylim=(0.0, reach), title=plain_text(channel))
    ax.set(xlabel="spread: root of the mean variance", ylabel="skill: root mean square error")
    ax.spines[["top", "right"]].set_visible(False)
    draw_legend(ax)
    return ax

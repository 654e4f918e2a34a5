"""Ranking of training series, or their observations, by their influence, as horizontal bars."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

import pandas as pd

from tsode.errors import DataError
from tsode.plots.axis import choose, plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_influence_ranking"]


def plot_influence_ranking(
    table: pd.DataFrame, channel: Hashable = None, *, n: int = 20, bound: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draw how far forecasts of a channel move without each of the leading training series or observations.

    Colours tell which way the mean forecast moves; a pale bar is one whose minimum was not reached.

    Parameters
    ----------
    table : DataFrame
        Of `tsode.influence.influence`.
    channel : label, optional
        May be left out if there is one channel.
    n : int
        Most bars.
    bound : float, optional
        What no series can exceed, in units of the channel: drawn as a dashed line.
    ax : Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        If the table has no such channel, or no row.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_influence_ranking draws with matplotlib: `pip install matplotlib`.") from error
    if not len(table):
        raise DataError("The table of influence has no row, so there is nothing to rank.")
    channel = choose(channel, list(table["channel"].unique()), "channel", "table")
    own = table[table["channel"] == channel].sort_values("rms", ascending=False, kind="stable").head(n)
    if ax is None:
        ax = plt.subplots(figsize=(7.0, 1.2 + 0.28 * len(own)), layout="constrained")[1]
    places = range(len(own))
    colours = ["C3" if change > 0 else "C0" for change in own["mean_change"]]
    bars = ax.barh(places, own["rms"], height=0.7, color=colours)
    for bar, status in zip(bars, own["status"]):
        bar.set_alpha(1.0 if status == "ok" else 0.35)
    for colour, label in (("C3", "higher without it"), ("C0", "lower without it")):
        if colour in colours:
            ax.barh(0, 0.0, color=colour, label=label)
    if bound is not None:
        ax.axvline(bound, color="0.2", linestyle="--", linewidth=1.0, label="bound")
    ax.set_yticks(places, [", ".join(map(plain_text, names)) for names in _names(own)])
    ax.set(ylim=(len(own) - 0.4, -0.6), xlabel=f"change of the forecast of {plain_text(channel)} (rms)")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.legend(loc="lower right", frameon=False, fontsize="small")
    return ax


def _names(table: pd.DataFrame) -> list[list[Hashable]]:
    """What tells the rows of one forecast channel apart."""
    columns = [name for name in ("series", "observed", "time") if name in table]
    if "observed" in columns and table["observed"].nunique() == 1:
        columns.remove("observed")
    shown = table[columns].copy()
    if "time" in columns and pd.api.types.is_float_dtype(shown["time"]):
        shown["time"] = [f"{time:.4g}" for time in shown["time"]]
    return shown.astype(object).to_numpy().tolist()

"""Histogram of probability integral transforms: the levels of forecasts at which observations lie."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np

from tsode.plots.axis import plain_text
from tsode.plots.pairs import pair_by_lead

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_pit"]


def plot_pit(
    truth: Any,
    quantiles: Any,
    channel: Hashable = None,
    *,
    history: Any = None,
    n_leads: int = 3,
    n_bins: int = 10,
    ax: Axes | None = None,
    id_col: Hashable = "unique_id",
    time_col: Hashable = "ds",
) -> Axes:
    """Draw the histogram of probability integral transforms: the level of its forecast at which each value lies.

    It is flat for honest forecasts, a U for such that are too sure, a hill for such that are not sure enough, and
    slanted for such that are too high or too low. The levels come from the quantiles, so ask for a dense set, such as
    ``quantiles=np.arange(1, 40) / 40``.

    Parameters
    ----------
    truth, quantiles, channel, history, n_leads, id_col, time_col
        As in `plot_calibration`.
    n_bins : int
    ax : Axes, optional
        Where to draw; the default is a new figure.

    Returns
    -------
    Axes

    References
    ----------
    Gneiting, Balabdaoui & Raftery, "Probabilistic forecasts, calibration and sharpness", JRSS B 2007.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_pit draws with matplotlib: `pip install matplotlib`.") from error
    groups = pair_by_lead(truth, quantiles, channel, history=history, n_leads=n_leads, id_col=id_col, time_col=time_col)
    if ax is None:
        ax = plt.subplots(figsize=(5.5, 5.5), layout="constrained")[1]
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    chance = 1.96 * np.sqrt((n_bins - 1) / min(len(group.truth) for group in groups))
    ax.axhspan(max(1.0 - chance, 0.0), 1.0 + chance, color="0.9", linewidth=0.0, label="by chance (95 %)")
    ax.axhline(1.0, color="0.5", linewidth=0.8, linestyle="--", label="honest")
    for number, group in enumerate(groups):
        density = n_bins * np.histogram(group.pit, edges)[0] / len(group.truth)
        ax.stairs(
            density,
            edges,
            baseline=None,
            color=f"C{number}",
            linewidth=1.4,
            label=f"{plain_text(group.label)} (n = {len(group.truth)})",
        )
    ax.set(xlabel="level of the forecast at the observation", ylabel="density", xlim=(0.0, 1.0))
    ax.set_ylim(bottom=0.0, top=1.35 * ax.get_ylim()[1])  # room for the legend
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="upper left", frameon=False, fontsize="small")
    return ax

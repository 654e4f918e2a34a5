"""Rank histograms: of the truth among draws of its posterior, or of values among members of an ensemble."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import binom

from tsode.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_rank_histogram"]

N_RANKS, MOST = 100, 30  # ranks from 0 to 99 unless the table says else, and columns that are drawn


def plot_rank_histogram(ranks: pd.DataFrame, n_bins: int = 20) -> Figure:
    """Draw how often the truth had which rank among draws, of a posterior or of a forecast, a panel a column.

    Flat is right. A heap in the middle says that draws are spread too widely, a trough that they are too narrow, a
    slope that they lie to one side. The grey band is where 95 % of bins of even ranks would be.

    Parameters
    ----------
    ranks : DataFrame
        From `KnownODEForecaster.simulation_based_calibration`, or `tsode.diagnostics.rank_histogram`.
    n_bins : int
        A divisor of the number of ranks: of 100, or of one more than the members.

    Returns
    -------
    Figure
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_rank_histogram draws with matplotlib: `pip install matplotlib`.") from error
    n_ranks = int(ranks.attrs.get("n_ranks", N_RANKS))
    if not len(ranks) or n_ranks % n_bins:
        raise DataError(f"ranks has {len(ranks)} rows, and n_bins={n_bins} must divide {n_ranks}: give some of either.")
    names = list(ranks.columns[:MOST])
    n_columns = min(4, len(names))
    n_rows = -(-len(names) // n_columns)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(3.0 * n_columns, 2.2 * n_rows), squeeze=False, layout="constrained"
    )
    chances: dict[str, Any] = ranks.attrs.get("chi_square", {})
    shapes: dict[str, str] = ranks.attrs.get("shape", {})
    for axis, name in zip(axes.flat, names):
        own = ranks[name].dropna()
        low, high = binom(len(own), 1.0 / n_bins).interval(0.95)
        shape = f"\n{shapes[name]}" if name in shapes else ""
        axis.axhspan(low, high, color="0.9")
        axis.axhline(len(own) / n_bins, color="0.5", linewidth=0.8)
        axis.hist(own, bins=np.linspace(0, n_ranks, n_bins + 1), color="C0", alpha=0.7)
        chance = f", p = {chances[name]:.2g}" if name in chances else ""
        axis.set(title=f"{name}{chance}{shape}", xlim=(0, n_ranks))
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    figure.supxlabel("rank of the truth")
    return figure

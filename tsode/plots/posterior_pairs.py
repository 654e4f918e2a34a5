"""Pairs of named parameters: how the posterior ties them together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tsode.errors import DataError
from tsode.plots.axis import plain_text
from tsode.plots.posterior import read_draws

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_pairs"]

MOST = 8  # parameters that are drawn by default
MOST_DOTS = 1000
SHADES = {0.9: "0.95", 0.5: "0.87"}  # of the regions that hold these shares of the prior
N_PRIOR = 20_000  # draws that say at which density these lie


def plot_pairs(model: Any, names: Sequence[str] | None = None) -> Figure:
    """Draw the draws of parameters two by two, over their prior: what the data tell only together.

    Grey are the smallest regions that hold 50 and 90 % of the prior; a panel that is grey all over lies within. On the
    diagonal is each parameter by itself, with the density of its prior; above it are correlations.

    Parameters
    ----------
    model : fitted KnownODEForecaster
    names : list of str, optional
        Two or more columns of ``posterior_``; the first eight by default.

    Returns
    -------
    Figure
        A panel a pair.
    """
    try:
        import matplotlib.pyplot as plt
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise ImportError("plot_pairs draws with matplotlib: `pip install matplotlib`.") from error
    draws = read_draws(model, names, MOST)
    n = len(draws.columns)
    if n < 2:
        raise DataError(f"Pairs need two parameters or more, but there is {', '.join(draws.columns) or 'none'} alone.")
    values = draws.to_numpy()
    priors = [model.priors_[name] for name in draws]
    axes_of = [_axis(prior, values[:, k]) for k, prior in enumerate(priors)]
    log_densities = [prior.log_prob(torch.from_numpy(x)).numpy() for prior, x in zip(priors, axes_of)]
    generator = torch.Generator().manual_seed(0)
    at_draws = [prior.log_prob(prior.sample((N_PRIOR,), generator)).numpy() for prior in priors]
    correlation = np.corrcoef(values, rowvar=False)
    dots = values[:MOST_DOTS]

    size = max(1.1 * n, 4.5)
    figure, axes = plt.subplots(n, n, figsize=(size + 1.0, size), squeeze=False, layout="constrained")
    for row in range(n):
        for column in range(n):
            axis = axes[row, column]
            if column > row:
                strength = correlation[row, column]
                axis.text(
                    0.5, 0.5, f"{strength:+.2f}", ha="center", va="center", transform=axis.transAxes,
                    color="black" if abs(strength) >= 0.5 else "0.5", fontsize="medium",
                )  # fmt: skip
                axis.set_axis_off()
                continue
            x = axes_of[column]
            if row == column:
                axis.hist(values[:, row], bins=30, density=True, color="C0", alpha=0.5)
                axis.plot(x, np.exp(log_densities[row]), color="0.3", linewidth=1.2)
                axis.set_yticks([])
                axis.set_ylim(bottom=0.0)
                axis.spines["left"].set_visible(False)
            else:
                axis.plot(dots[:, column], dots[:, row], "o", color="C0", markersize=2.0, alpha=0.3, markeredgewidth=0)
                density = log_densities[row][:, None] + log_densities[column]
                cuts = np.quantile(at_draws[row] + at_draws[column], [1.0 - share for share in SHADES])
                top = max(cuts[-1], density.max()) + 1.0
                axis.contourf(x, axes_of[row], density, levels=[*cuts, top], colors=list(SHADES.values()), zorder=0)
                axis.set_ylim(axes_of[row][[0, -1]])
                axis.yaxis.set_major_locator(MaxNLocator(3, prune="both"))
            axis.set_xlim(x[[0, -1]])
            axis.xaxis.set_major_locator(MaxNLocator(3, prune="both"))
            axis.tick_params(labelsize="x-small")
            axis.spines[["top", "right"]].set_visible(False)
            if row < n - 1:
                axis.set_xticklabels([])
            else:
                axis.set_xlabel(plain_text(draws.columns[column]), fontsize="small")
            if column:
                axis.set_yticklabels([])
            elif row:
                axis.set_ylabel(plain_text(draws.columns[row]), fontsize="small")
    figure.align_labels()
    handles = [
        Line2D([], [], linestyle="none", marker="o", color="C0", markersize=4, alpha=0.5, label="posterior"),
        *(Patch(color=shade, label=f"{100 * share:g} % of the prior") for share, shade in SHADES.items()),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize="small")
    return figure


def _axis(prior: Any, values: np.ndarray) -> np.ndarray:
    """Places along an axis that holds the draws, within the bounds of the prior."""
    edge = 0.08 * max(float(np.ptp(values)), 1e-12 * float(np.abs(values).max()), np.finfo(float).tiny)
    low, high = prior.bounds
    x = np.linspace(max(low, values.min() - edge), min(high, values.max() + edge), 121)
    inside = np.nextafter(x[[0, -1]], x[[-1, 0]])  # at a bound itself a density may be infinite
    return np.concatenate([inside[:1], x[1:-1], inside[1:]])

"""Posterior of named parameters: each against its prior, and all of them as intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from tsode.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_forest", "plot_prior_posterior", "read_draws"]

MOST = 30  # parameters that are drawn


def plot_prior_posterior(model: Any, names: Sequence[str] | None = None) -> Figure:
    """Draw the draws of each parameter over the density of its prior: what the data have told.

    Parameters
    ----------
    model : fitted KnownODEForecaster
    names : list of str, optional
        Columns of ``posterior_``; the first 30 by default.

    Returns
    -------
    Figure
        A panel a parameter.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_prior_posterior draws with matplotlib: `pip install matplotlib`.") from error
    draws = read_draws(model, names)
    n_columns = min(4, len(draws.columns))
    n_rows = -(-len(draws.columns) // n_columns)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(3.0 * n_columns, 2.2 * n_rows), squeeze=False, layout="constrained"
    )
    for axis, name in zip(axes.flat, draws):
        values, prior = draws[name].to_numpy(), model.priors_[name]
        axis.hist(values, bins=30, density=True, color="C0", alpha=0.5, label="posterior")
        low, high = prior.bounds
        width = np.ptp(values)
        x = np.linspace(max(low, values.min() - width), min(high, values.max() + width), 200)[1:-1]
        axis.plot(x, prior.log_prob(torch.from_numpy(x)).exp().numpy(), color="0.3", linewidth=1.2, label="prior")
        axis.set(title=name, yticks=[])
        axis.spines[["top", "right", "left"]].set_visible(False)
    for axis in axes.flat[len(draws.columns) :]:
        axis.set_axis_off()
    axes.flat[0].legend(frameon=False, fontsize="small")
    return figure


def plot_forest(model: Any, names: Sequence[str] | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw median, 50 % and 90 % interval of each parameter, one below the other.

    Parameters
    ----------
    model : fitted KnownODEForecaster
    names : list of str, optional
        Columns of ``posterior_``, best of one unit; the first 30 by default.
    ax : Axes, optional
        Where to draw; the default is a new figure.

    Returns
    -------
    Axes
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_forest draws with matplotlib: `pip install matplotlib`.") from error
    draws = read_draws(model, names)
    place = np.arange(len(draws.columns))
    if ax is None:
        ax = plt.subplots(figsize=(7.0, 1.0 + 0.3 * len(place)), layout="constrained")[1]
    low, lower, middle, upper, high = draws.quantile([0.05, 0.25, 0.5, 0.75, 0.95]).to_numpy()
    ax.hlines(place, low, high, color="C0", linewidth=1.0, label="90 %")
    ax.hlines(place, lower, upper, color="C0", linewidth=3.0, label="50 %")
    ax.plot(middle, place, "o", color="white", markeredgecolor="C0", label="median")
    ax.set_yticks(place, list(draws.columns))
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize="small")
    return ax


def read_draws(model: Any, names: Sequence[str] | None, most: int = MOST) -> pd.DataFrame:
    """Columns of ``posterior_``: those of these names, or the first so many."""
    draws = model.posterior_
    if names is None:
        return draws.iloc[:, :most]
    missing = [name for name in names if name not in draws]
    if missing:
        raise DataError(f"There is no parameter {missing[0]!r} in posterior_: it has {', '.join(draws.columns)}.")
    return draws[list(names)]

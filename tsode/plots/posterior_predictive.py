"""Posterior predictive check: the data beside such as the posterior would give, and where values lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tsode.plots.axis import log_scale, plain_text
from tsode.plots.individual_fits import is_multiplicative, read_channels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_posterior_predictive"]


def plot_posterior_predictive(
    model: Any,
    channels: Sequence[str] | None = None,
    *,
    n_samples: int = 50,
    log: bool | None = None,
    random_state: Any = 0,
) -> Figure:
    """Draw the distribution of the values of each channel beside those of data that the posterior gives.

    On the left stands the share of values up to a number: black in the data, blue in each of `n_samples` replicates,
    see ``posterior_predictive``. Beyond a limit of quantification both stand at the limit. A black line outside of the
    blue ones says that the model does not give such data. On the right stands the share of values whose level, in what
    is predicted of each from all others, is at most so high: see ``loo_pit``. If all is right it follows the diagonal,
    and leaves the grey band in one picture of twenty. An S that is flat in the middle says that predictions are too
    sure, one that is steep there that they are not sure enough.

    Parameters
    ----------
    model : fitted KnownODEForecaster
    channels : list of str, optional
        All by default.
    n_samples : int
        Replicates.
    log : bool, optional
        Whether values stand on a logarithmic axis; by default where noise is multiplicative.
    random_state : int, generator or None

    Returns
    -------
    Figure
        Two panels a channel.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_posterior_predictive draws with matplotlib: `pip install matplotlib`.") from error
    density = model._density
    channels = read_channels(model, channels)
    replicates = model.posterior_predictive(n_samples, random_state)
    levels = model.loo_pit(random_state)
    figure, axes = plt.subplots(
        len(channels), 2, figsize=(9.0, 0.4 + 2.8 * len(channels)), squeeze=False, layout="constrained"
    )
    for (left, right), channel in zip(axes, channels):
        noise, observed = density.system.observed[channel], density.cells[channel].values.numpy()
        by_sample = [values.dropna().to_numpy() for _, values in replicates.groupby("sample")[channel]]
        if noise.below is not None or noise.above is not None:
            observed, *by_sample = (np.clip(x, noise.below, noise.above) for x in (observed, *by_sample))
        for k, values in enumerate(by_sample):
            _steps(
                left, values, color="C0", linewidth=0.6, alpha=0.4, label=f"{n_samples} replicates" if not k else None
            )
        _steps(left, observed, color="black", linewidth=1.6, label=f"observed (n = {len(observed)})")
        if is_multiplicative(noise) if log is None else log:
            log_scale(left, "x")
        left.set(xlabel=plain_text(channel), ylabel="share up to here", ylim=(0.0, 1.0))
        left.legend(loc="lower right", frameon=False, fontsize="small")
        of_channel = levels[levels["channel"] == channel]
        _draw_levels(right, of_channel["pit"].to_numpy(), int((of_channel["k"] > 0.7).sum()))
        for axis in (left, right):
            axis.spines[["top", "right"]].set_visible(False)
    return figure


def _steps(axis: Axes, values: np.ndarray, **style: Any) -> None:
    """Share of values up to each."""
    ranked = np.sort(values)
    axis.step(np.concatenate([ranked[:1], ranked]), np.arange(len(ranked) + 1) / len(ranked), where="post", **style)


def _draw_levels(axis: Axes, levels: np.ndarray, n_bad: int) -> None:
    n = len(levels)
    line = np.linspace(0.0, 1.0, 101)
    # of Dvoretzky, Kiefer and Wolfowitz, with the constant of Massart 1990
    chance = math.sqrt(math.log(2.0 / 0.05) / (2.0 * n))
    axis.fill_between(line, line - chance, line + chance, color="0.9", linewidth=0.0, label="by chance (95 %)")
    axis.plot([0.0, 1.0], [0.0, 1.0], color="0.5", linewidth=0.8, linestyle="--")
    ranked = np.concatenate([[0.0], np.sort(levels), [1.0]])
    share = np.concatenate([[0.0], np.arange(1, n + 1) / n, [1.0]])
    label = f"values ({n_bad} of {n} unreliable)" if n_bad else "values"
    axis.step(ranked, share, where="post", color="black", linewidth=1.4, label=label)
    axis.set(xlabel="level in what is predicted from all others", ylabel="share up to here")
    axis.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0))
    axis.legend(loc="upper left", frameon=False, fontsize="small")

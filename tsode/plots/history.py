"""History of training: losses, the learning rate, and evaluations of the vector field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsode.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_history"]


def plot_history(history: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the loss of each epoch in training and on validation data, and mark the epoch that was kept.

    Parameters
    ----------
    history : fitted forecaster or DataFrame
        A forecaster, or its ``history_``.
    ax : Axes, optional
        Where to draw; the default is a new figure.

    Returns
    -------
    Axes
        Of the losses. A second one, to the right, has the learning rate on a scale of logarithms. A third one, below,
        has the evaluations of the vector field a training step, for models that solve one step by step.

    Raises
    ------
    DataError
        If nothing was trained by epochs, as for baselines.
    """
    try:
        import matplotlib.pyplot as plt
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise ImportError("plot_history draws with matplotlib: `pip install matplotlib`.") from error
    rows = pd.DataFrame(getattr(history, "history_", history))
    if "train_loss" not in rows.columns:
        raise DataError("There is no training history: pass a forecaster that was trained by epochs, or its history_.")
    if ax is None:
        ax = plt.subplots(figsize=(9.0, 4.5), layout="constrained")[1]
    epochs = rows["epoch"].to_numpy()
    marker = "o" if len(epochs) == 1 else "none"  # of one epoch no line would be seen
    ax.plot(epochs, rows["train_loss"], color="C0", linewidth=1.2, label="training", marker=marker)
    lines = list(ax.lines)
    if "valid_loss" in rows.columns and rows["valid_loss"].notna().any():
        lines += ax.plot(epochs, rows["valid_loss"], color="C1", linewidth=1.8, label="validation", marker=marker)
        best = epochs[int(np.nanargmin(rows["valid_loss"]))]
        lines.append(ax.axvline(best, color="0.5", linewidth=0.8, linestyle="--", label=f"kept: epoch {best:g}"))
    if "learning_rate" in rows.columns:
        rate = ax.twinx()
        lines += rate.plot(epochs, rows["learning_rate"], color="0.6", linewidth=1.0, label="learning rate (right)")
        rate.set(yscale="log", ylabel="learning rate")
        rate.spines[["top"]].set_visible(False)
    ax.set(xlabel="epoch", ylabel="loss")
    if "n_evaluations" in rows.columns:
        _draw_evaluations(ax, epochs, rows["n_evaluations"])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.margins(x=0.01)
    if len(epochs) == 1:
        ax.set_xlim(epochs[0] - 1, epochs[0] + 1)
    ax.spines[["top"]].set_visible(False)
    ax.legend(handles=lines, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, frameon=False, fontsize="small")
    return ax


def _draw_evaluations(ax: Axes, epochs: np.ndarray, counts: pd.Series) -> None:
    """A low strip below the losses, with the same epochs."""
    strip = ax.inset_axes((0.0, -0.5, 1.0, 0.3), sharex=ax)
    strip.plot(epochs, counts, color="C2", linewidth=1.2, label="evaluations")
    strip.set(xlabel="epoch", ylabel="evaluations\nof the field", ylim=(0.0, 1.15 * max(float(counts.max()), 1.0)))
    strip.spines[["top", "right"]].set_visible(False)
    ax.set_xlabel("")

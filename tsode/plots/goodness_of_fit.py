"""Goodness of fit of a population: values beside predictions, and residuals beside what they should not depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsode.errors import ParameterError
from tsode.inference.population.predictive_check import bin_edges
from tsode.plots.axis import format_dates, log_scale, plain_text, time_axis
from tsode.plots.fan import DOTS
from tsode.plots.individual_fits import is_multiplicative, read_channels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_goodness_of_fit"]

HOLLOW: dict[str, Any] = DOTS | {"markerfacecolor": "none", "alpha": 0.8, "markersize": 4.0}
FEWEST, N_MIDDLES = 8, 10  # values that middles are drawn through, and how many of these


def plot_goodness_of_fit(
    model: Any,
    channel: str | None = None,
    *,
    residual: str = "CWRES",
    log: bool | None = None,
    table: pd.DataFrame | None = None,
    random_state: Any = 0,
) -> Figure:
    """Draw the values of a channel beside the predictions of a population, and their residuals.

    Above stand values beside the predictions for the typical series and for the individual modes: they should lie about
    the diagonal. Below stand residuals beside the typical prediction and beside time: they should lie about 0, nine of
    ten between the dotted lines, and the blue line, through medians of neighbours, should be flat. The residuals
    that lie farthest out have the ids of their series. Censored values are left out, but for "NPDE".

    Parameters
    ----------
    model : fitted KnownODEForecaster with random effects
    channel : str, optional
        The first by default.
    residual : {"CWRES", "NPDE", "IWRES"}
    log : bool, optional
        Whether values stand on logarithmic axes; by default where noise is multiplicative.
    table : DataFrame, optional
        What ``model.goodness_of_fit()`` has given, where it is there already.
    random_state : int, generator or None

    Returns
    -------
    Figure
        Four panels.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_goodness_of_fit draws with matplotlib: `pip install matplotlib`.") from error
    if residual not in ("CWRES", "NPDE", "IWRES"):
        raise ParameterError(f"residual={residual!r} is not known: choose 'CWRES', 'NPDE' or 'IWRES'.")
    (channel, *_) = read_channels(model, None if channel is None else [channel])
    if table is None:
        table = model.goodness_of_fit(n=500 if residual == "NPDE" else 0, random_state=random_state)
    own = table[table["channel"] == channel]
    is_log = is_multiplicative(model._density.system.observed[channel]) if log is None else log
    figure, axes = plt.subplots(2, 2, figsize=(9.0, 7.5), layout="constrained")
    seen = own[own["censored"] == ""]
    for axis, name, words in zip(axes[0], ("PRED", "IPRED"), ("typical series (PRED)", "individual mode (IPRED)")):
        _draw_values(axis, seen[name].to_numpy(), seen["value"].to_numpy(), is_log)
        axis.set(xlabel=f"{plain_text(channel)}, {words}", ylabel=f"{plain_text(channel)}, observed")
    labels = own[model.id_col].astype(str).to_numpy()
    scores = own[residual].to_numpy()
    for axis in axes[1]:
        if axis is axes[1, 0]:
            x, xlabel = own["PRED"].to_numpy(), f"{plain_text(channel)}, typical series (PRED)"
        else:
            x, xlabel, _ = time_axis(own[model.time_col].to_numpy(), model._panel)
        _draw_residuals(axis, x, scores, labels)
        axis.set(xlabel=xlabel, ylabel=f"{residual} (standard deviations)")
    format_dates(axes[1, 1], model._panel, most=4)
    if is_log:
        log_scale(axes[1, 0], "x")
    n_censored = int((own["censored"] != "").sum())
    if n_censored:
        how = "drawn beyond it in NPDE, else left out" if residual == "NPDE" else "left out"
        figure.suptitle(
            f"{n_censored} of {len(own)} values are beyond a limit of quantification: {how}", fontsize="small"
        )
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_values(axis: Axes, predicted: np.ndarray, values: np.ndarray, is_log: bool) -> None:
    is_shown = (predicted > 0) & (values > 0) if is_log else np.isfinite(predicted)
    both = np.concatenate([predicted[is_shown], values[is_shown]])
    if len(both):
        axis.plot([both.min(), both.max()], [both.min(), both.max()], color="0.5", linewidth=0.8, linestyle="--")
    axis.plot(predicted[is_shown], values[is_shown], **HOLLOW)
    if is_log:
        log_scale(axis, "x")
        log_scale(axis, "y")


def _draw_residuals(axis: Axes, x: Any, scores: np.ndarray, labels: np.ndarray) -> None:
    axis.axhline(0.0, color="0.5", linewidth=0.8, linestyle="--")
    for end in (-1.645, 1.645):
        axis.axhline(end, color="0.5", linewidth=0.8, linestyle=":")
    is_shown = np.isfinite(scores)
    x, scores, labels = np.asarray(x)[is_shown], scores[is_shown], labels[is_shown]
    axis.plot(x, scores, **HOLLOW)
    if len(x) >= FEWEST:
        # ranks, since edges are of numbers: values at one time share a bin
        rank = np.unique(x, return_inverse=True)[1].astype(np.float64)
        bins = np.searchsorted(bin_edges(rank, 1, min(N_MIDDLES, len(x) // 5 + 1))[1:-1], rank, side="right")
        groups = [np.flatnonzero(bins == k) for k in np.unique(bins)]
        order = np.argsort(x, kind="stable")
        at = [x[order[np.isin(order, own)][len(own) // 2]] for own in groups]
        axis.plot(at, [np.median(scores[own]) for own in groups], color="C0", linewidth=1.4)
    for place in np.argsort(-np.abs(scores), kind="stable")[:3]:
        if abs(scores[place]) > 2.0:
            axis.annotate(
                plain_text(labels[place]), (x[place], scores[place]), xytext=(4, 3), textcoords="offset points",
                fontsize="x-small", color="C3",
            )  # fmt: skip
    axis.margins(x=0.05)
    reach = max(2.5, 1.15 * float(np.abs(scores).max())) if len(scores) else 2.5
    axis.set_ylim(-reach, reach)

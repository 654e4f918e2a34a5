"""Calibration plot: coverage of central intervals against their level, by lead time."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np

from tsode.errors import DataError
from tsode.plots.axis import plain_text
from tsode.plots.pairs import pair_by_lead

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_calibration"]


def plot_calibration(
    truth: Any,
    quantiles: Any,
    channel: Hashable = None,
    *,
    history: Any = None,
    n_leads: int = 3,
    ax: Axes | None = None,
    id_col: Hashable = "unique_id",
    time_col: Hashable = "ds",
) -> Axes:
    """Draw the share of observations inside central intervals against what the intervals were meant to hold.

    On the diagonal, intervals are honest; below it they are too narrow, above it too wide. The grey band is where 95 %
    of curves of honest intervals would pass at each level, were the observations independent of each other; they are
    not, so it is the least that chance allows for.

    Parameters
    ----------
    truth : any container that fit reads
        What was observed.
    quantiles : any container that predict_quantiles returns
        For the same series and times. Every pair of levels p and 1 - p makes an interval.
    channel : label, optional
        None takes all channels together.
    history : any container that fit reads, optional
        What was forecast from. Then there is a line for each of `n_leads` groups of leads, of equal size.
    n_leads : int
    ax : Axes, optional
        Where to draw; the default is a new figure.
    id_col, time_col : label
        Columns of long frames.

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        If `quantiles` has none for `truth`, or no pair of levels that makes an interval.

    See Also
    --------
    plot_pit : the same in finer detail, both sides by themselves.
    """
    try:
        import matplotlib.pyplot as plt
        from matplotlib.ticker import PercentFormatter
    except ImportError as error:
        raise ImportError("plot_calibration draws with matplotlib: `pip install matplotlib`.") from error
    groups = pair_by_lead(truth, quantiles, channel, history=history, n_leads=n_leads, id_col=id_col, time_col=time_col)
    levels = groups[0].levels
    pairs = [(q, int(np.abs(levels - (1.0 - p)).argmin())) for q, p in enumerate(levels) if p < 0.5 - 1e-9]
    pairs = [(low, high) for low, high in reversed(pairs) if abs(levels[low] + levels[high] - 1.0) < 1e-6]
    if not pairs:
        raise DataError(
            f"The levels {levels.tolist()} hold no pair such as 0.1 and 0.9: ask predict_quantiles for both."
        )
    if ax is None:
        ax = plt.subplots(figsize=(5.5, 5.5), layout="constrained")[1]
    nominal = np.array([levels[high] - levels[low] for low, high in pairs])
    line = np.linspace(0.0, 1.0, 101)
    chance = 1.96 * np.sqrt(line * (1.0 - line) / min(len(group.truth) for group in groups))
    ax.fill_between(line, line - chance, line + chance, color="0.9", linewidth=0.0, label="by chance (95 %)")
    ax.plot([0.0, 1.0], [0.0, 1.0], color="0.5", linewidth=0.8, linestyle="--", label="honest")
    for number, group in enumerate(groups):
        inside = [
            np.mean((group.truth >= group.quantiles[:, low]) & (group.truth <= group.quantiles[:, high]))
            for low, high in pairs
        ]
        ax.plot(
            nominal, inside, color=f"C{number}", marker="o", markersize=3.5, linewidth=1.2,
            label=f"{plain_text(group.label)} (n = {len(group.truth)})",
        )  # fmt: skip
    ax.set(xlabel="meant to be inside", ylabel="are inside", xlim=(0.0, 1.0), ylim=(0.0, 1.0), aspect="equal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="upper left", frameon=False, fontsize="small")
    return ax

"""Gap plot: the times between the observations of each channel, which show how irregular the data are."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np

from tsode.errors import DataError
from tsode.frames.read import read_panel
from tsode.plots.axis import draw_legend, duration_unit, plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_gaps"]


def plot_gaps(
    data: Any,
    *,
    ax: Axes | None = None,
    id_col: Hashable = "unique_id",
    time_col: Hashable = "ds",
    target: Any = None,
    duplicates: str = "error",
) -> Axes:
    """Draw, for each channel, the share of gaps between its observations that are no longer than this.

    A regular channel is one step; the wider a curve spreads on the scale of logarithms, the more irregular. The legend
    says what share of the rows lacks the channel.

    Parameters
    ----------
    data : any container that fit reads
        Gaps are between observations of the same channel of the same series.
    ax : Axes, optional
        Where to draw; the default is a new figure.
    id_col, time_col, target, duplicates
        As in fit.

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        If no channel was observed twice in a series.
    """
    try:
        import matplotlib.pyplot as plt
        from matplotlib.ticker import PercentFormatter
    except ImportError as error:
        raise ImportError("plot_gaps draws with matplotlib: `pip install matplotlib`.") from error
    panel = read_panel(data, id_col=id_col, time_col=time_col, target=target, duplicates=duplicates)
    n_rows = sum(len(times) for times in panel.times)
    drawn = {}
    for c, channel in enumerate(panel.channels):
        seen = [times[~np.isnan(values[:, c])] for times, values in zip(panel.times, panel.values)]
        gaps = np.sort(np.concatenate([np.diff(times) for times in seen]))
        if len(gaps):
            missing = 1.0 - sum(map(len, seen)) / n_rows
            drawn[f"{plain_text(channel)} ({100.0 * missing:.0f} % missing)"] = gaps
    if not drawn:
        raise DataError("No channel was observed twice in a series, so there are no gaps to draw.")
    if ax is None:
        ax = plt.subplots(figsize=(9.0, 4.5), layout="constrained")[1]
    medians = np.sort([gaps[len(gaps) // 2] for gaps in drawn.values()])
    seconds, unit = duration_unit(medians[len(medians) // 2], panel)
    for number, (label, gaps) in enumerate(drawn.items()):
        x = gaps if seconds is None else gaps / np.timedelta64(1, "ns") / (1e9 * seconds)
        # a stair that starts at no gap at all and reaches every gap
        share = np.arange(1, len(x) + 1) / len(x)
        style = ("-", "--", ":", "-.")[number // 10 % 4]  # after ten channels the colours come again
        ax.plot(
            np.concatenate([x[:1], x]), np.concatenate([[0.0], share]), drawstyle="steps-post", linewidth=1.4,
            linestyle=style, color=f"C{number % 10}", label=label,
        )  # fmt: skip
    ax.set(xscale="log", xlabel=f"gap ({unit})" if unit else "gap", ylabel="gaps no longer than this", ylim=(0.0, 1.02))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.grid(axis="x", color="0.9")
    ax.spines[["top", "right"]].set_visible(False)
    draw_legend(ax)
    return ax

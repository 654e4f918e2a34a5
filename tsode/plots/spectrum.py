"""Spectrum: Lyapunov exponents with their errors, or their bands over draws from a posterior."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tsode.errors import ParameterError
from tsode.plots.axis import choose, draw_legend, plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_spectrum"]


def plot_spectrum(table: pd.DataFrame, *, series: Hashable = None, ax: Axes | None = None) -> Axes:
    """Draw the Lyapunov exponents of a table of `tsode.stability.lyapunov_spectrum`, the largest first.

    Those above zero, along which errors grow, have a colour of their own. Bars are two standard errors, or from
    ``q05`` to ``q95`` where the table has draws from a posterior.

    Parameters
    ----------
    table : DataFrame
    series : label, optional
        Id, where series have exponents of their own.
    ax : Axes, optional
        Where to draw; the default is a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    ParameterError
        If the table is none of exponents, or it is left open which series is meant.
    """
    try:
        import matplotlib.pyplot as plt
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise ImportError("plot_spectrum draws with matplotlib: `pip install matplotlib`.") from error
    column = next((name for name in table.columns if str(name).startswith("exponent_per_")), None)
    if column is None:
        raise ParameterError(
            f"The table has the columns {list(table.columns)}, but none of exponents: pass what lyapunov_spectrum gave."
        )
    if "exponent" in table.columns:
        key = table.columns[0]
        ids = table[key].drop_duplicates().tolist()
        table = table[table[key] == choose(series, ids, "series", "table")]
    values = table[column].to_numpy(dtype=float)
    number = np.arange(1, len(values) + 1)
    if "q05" in table.columns:
        low, high, label = table["q05"].to_numpy(), table["q95"].to_numpy(), "5 to 95 % of the posterior"
    else:
        width = 2 * table["standard_error"].to_numpy()
        low, high, label = values - width, values + width, "two standard errors"
    if ax is None:
        ax = plt.subplots(figsize=(5.5, 4.0), layout="constrained")[1]
    ax.axhline(0.0, color="0.5", linewidth=0.8)
    grows = low > 0
    for which, color, name in ((~grows, "C0", "errors do not grow"), (grows, "C3", "errors grow")):
        if which.any():
            ax.vlines(number[which], low[which], high[which], color=color, linewidth=2.0)
            ax.plot(number[which], values[which], "o", color=color, markersize=5, label=name)
    ax.plot([], [], color="0.4", linewidth=2.0, label=label)
    unit = str(column).removeprefix("exponent_per_")
    ax.set(xlabel="exponent", ylabel=plain_text(f"growth rate of errors (per {unit})"))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    draw_legend(ax)
    return ax

"""Visual predictive check: quantiles of values along time, in the bands of those that a population would give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsode.plots.axis import log_scale, plain_text
from tsode.plots.individual_fits import is_multiplicative, read_channels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_visual_predictive_check"]

SECONDS = {"days": 86400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0}


def plot_visual_predictive_check(
    model: Any,
    channels: Sequence[str] | None = None,
    *,
    table: pd.DataFrame | None = None,
    log: bool | None = None,
    **settings: Any,
) -> Figure:
    """Draw quantiles of the values of fit along time, and the 90 % bands of those of simulated data sets.

    Lines are what was observed, bands what the population gives: of a right one nine of ten bins hold their line. A bin
    is a column of the band, and its line stands at the median time of its values. Below a channel with limits of
    quantification stand the shares of values beyond them. A quantile that lies beyond a limit is not drawn.

    Parameters
    ----------
    model : fitted KnownODEForecaster with random effects
    channels : list of str, optional
        All by default.
    table : DataFrame, optional
        What ``model.visual_predictive_check()`` has given, where it is there already.
    log : bool, optional
        Whether values stand on a logarithmic axis; by default where noise is multiplicative.
    **settings
        Of ``visual_predictive_check``: ``n``, ``bins``, ``corrected``, ``levels``, ``random_state``.

    Returns
    -------
    Figure
        A column a channel.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_visual_predictive_check draws with matplotlib: `pip install matplotlib`.") from error
    channels = read_channels(model, channels)
    if table is None:
        table = model.visual_predictive_check(**settings)
    has_share = bool((table["share"] != "").any())
    figure, axes = plt.subplots(
        1 + has_share, len(channels), figsize=(0.5 + 6.0 * len(channels), 4.0 + 1.6 * has_share), squeeze=False,
        layout="constrained", sharex="col", height_ratios=[2.5, 1.0][: 1 + has_share],
    )  # fmt: skip
    for column, channel in zip(axes.T, channels):
        own = table[table["channel"] == channel]
        noise, how = model._density.system.observed[channel], table.attrs["corrections"].get(channel)
        _draw_quantiles(column[0], own[own["share"] == ""])
        column[0].set_ylabel(plain_text(channel) + (", prediction-corrected" if how else ""))
        if is_multiplicative(noise) if log is None else log:
            log_scale(column[0], "y")
        for limit in (noise.below, noise.above):
            if limit is not None and how is None:
                column[0].axhline(limit, color="0.5", linewidth=0.6, linestyle=":")
        if has_share:
            shares = own[own["share"] != ""]
            _draw_shares(column[1], shares)
        column[-1].set_xlabel(_label_of_time(model))
        for axis in column:
            axis.spines[["top", "right"]].set_visible(False)
    handles = {label: one for one, label in zip(*axes[0, 0].get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, frameon=False,
                  fontsize="small")  # fmt: skip
    return figure


def _draw_quantiles(axis: Axes, table: pd.DataFrame) -> None:
    levels = sorted(table["level"].unique())
    outer = ", ".join(f"{100 * level:g} %" for level in levels if level != 0.5)
    for level in levels:
        own = table[table["level"] == level]
        color, line, name = ("C3", "-", "median") if level == 0.5 else ("C0", "--", f"quantiles at {outer}")
        _draw_bands(axis, own, color, f"90 % of simulated {name}")
        axis.plot(
            own["at"], own["observed"], color="black", linewidth=1.4, linestyle=line, marker="o", markersize=3.0,
            label=f"observed {name}",
        )  # fmt: skip
    axis.margins(x=0.02)


def _draw_shares(axis: Axes, table: pd.DataFrame) -> None:
    for share, own in table.groupby("share", sort=False):
        color = "C2" if share == "below" else "C1"
        _draw_bands(axis, own, color, f"{share} the limit")
        axis.plot(own["at"], own["observed"], color="black", linewidth=1.2, marker="o", markersize=3.0)
    axis.set(ylabel=f"share {' or '.join(table['share'].unique())}\nthe limit")
    axis.set_ylim(0.0, min(1.0, 1.15 * float(np.nanmax(table[["observed", "upper"]].to_numpy(), initial=0.05))))


def _draw_bands(axis: Axes, own: pd.DataFrame, color: str, label: str) -> None:
    """A box a bin, with its median."""
    width = (own["to"] - own["from"]).to_numpy()
    height = (own["upper"] - own["lower"]).to_numpy()
    is_there = np.isfinite(height)
    axis.bar(own["from"][is_there], height[is_there], width[is_there], own["lower"][is_there], align="edge",
             color=color, alpha=0.3, linewidth=0.0, label=label)  # fmt: skip
    axis.hlines(own["median"], own["from"], own["to"], color=color, linewidth=1.2)


def _label_of_time(model: Any) -> str:
    """What times since the start are numbers of."""
    unit = model.time_unit_
    if not isinstance(unit, np.timedelta64):
        name = plain_text(model.time_col)
        return f"{name} since the start" if unit == 1 else f"{name} since the start (in units of {unit:g})"
    seconds = unit / np.timedelta64(1, "s")
    name, length = next((one for one in SECONDS.items() if seconds >= one[1]), ("seconds", 1.0))
    return f"time since the start ({name if seconds == length else f'in units of {seconds / length:g} {name}'})"

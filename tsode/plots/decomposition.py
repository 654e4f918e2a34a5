"""Decomposition plot: the fit of structural components, and each of its parts below it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tsode.errors import DataError, ParameterError
from tsode.estimators.forecasters.structural_answers import StructuralAnswers
from tsode.frames.index import restore_times
from tsode.frames.panel import Panel
from tsode.frames.read import read_panel
from tsode.models.structural.decomposition import FIT, part_names
from tsode.plots.axis import choose, draw_legend, format_dates, plain_text, time_axis
from tsode.plots.fan import DOTS, band_levels, draw_bands, series_columns

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

__all__ = ["plot_decomposition"]

N_POINTS = 300  # evenly spaced over the history, and again over what is ahead
FEW_DOTS = 100  # more are drawn smaller


def plot_decomposition(
    forecaster: Any,
    channel: Hashable = None,
    *,
    series: Hashable = None,
    times: Any = None,
    horizon: Any = None,
    context: Any = None,
    static: Any = None,
    known: Any = None,
    level: float | Sequence[float] = (50, 80, 95),
    label: str | None = None,
    figure: FigureBase | None = None,
) -> np.ndarray:
    """Draw what one channel of one series is made of: the fit, and below it the trend, seasons, cycles and the rest.

    The first panel is in the units of the data: the observations, and the value without observation noise. The others
    are its parts as `decompose` gives them, on the scale on which the channel is modelled; their labels name it where
    it is not that of the data. Up to a dashed line, the last observation, all are given the whole history, earlier and
    later; after it they are forecasts.

    Parameters
    ----------
    forecaster : LinearSDEForecaster
        Fitted with ``components=``.
    channel : label, optional
        May be left out if there is one channel only.
    series : label, optional
        Id; may be left out if there is one series only.
    times : array-like, optional
        What to draw, in native time. The default are the observations and an even grid among them and up to `horizon`.
    horizon : duration, optional
        How far to go on after the last observation; the default is not at all.
    context, static, known
        Histories of other series than in fit, and covariates, as in ``predict``.
    level : per cent or list of per cents
        Of the bands.
    label : str, optional
        What the first vertical axis says, best with the unit; the default is the channel.
    figure : Figure or SubFigure, optional
        Where to draw; the default is a new figure.

    Returns
    -------
    array of Axes
        The fit and its parts, from top to bottom; ``axes[0].figure.savefig(...)`` writes the picture.

    Raises
    ------
    ParameterError
        If the forecaster has no components, or it is left open which channel or series is meant.
    DataError
        If the data have no such channel or series, or nothing of it was observed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_decomposition draws with matplotlib: `pip install matplotlib`.") from error
    if not isinstance(forecaster, StructuralAnswers):
        raise ParameterError(
            f"{type(forecaster).__name__} has no parts to draw: use LinearSDEForecaster(components='auto')."
        )
    module = forecaster._structural_module("plot_decomposition")
    channel = choose(channel, forecaster.channels_, "channel", "forecaster")
    query, panel = forecaster._read_query(None, None, horizon, context, None, static, known)
    series = choose(series, panel.ids, "series", "forecaster" if context is None else "context")
    ahead = query.times[query.ids.index(series)][-1:] if horizon is not None else None
    seen, values = _observations(panel, series, channel)
    if times is None:
        times = restore_times(_spread(seen, ahead), panel.layout.time_dtype)
    answer = forecaster.decompose(times={series: times}, context=context, static=static, known=known, level=level)
    parts = read_panel(answer, id_col=forecaster.id_col, time_col=forecaster.time_col)

    fit = module.channels[list(forecaster.channels_).index(channel)]
    names = [FIT, *part_names(fit)]
    if figure is None:
        figure = plt.figure(figsize=(9.0, 2.0 + 1.4 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), sharex=True, squeeze=False, height_ratios=[2.0] + [1.0] * (len(names) - 1))[:, 0]
    scale = forecaster.transforms_[channel]
    for ax, name in zip(axes, names):
        levels = band_levels(parts.channels, f"{channel}-{name}")
        ends = [f"{channel}-{name}-{end}-{share}" for share in levels for end in ("lo", "hi")]
        drawn, columns = series_columns(parts, series, [f"{channel}-{name}", *ends], "decompose")
        if name == FIT:
            columns = fit.transform.inverse(torch.from_numpy(columns)).numpy()
        x, xlabel, seconds = time_axis(drawn, parts)
        draw_bands(ax, x, columns, levels, label=name)
        ax.set_ylabel(plain_text(name) if scale == "identity" else f"{plain_text(name)}\n({scale} scale)")
        if name != FIT and np.nanmin(columns) < 0.0 < np.nanmax(columns):
            ax.axhline(0.0, color="0.5", linewidth=0.5, zorder=0.5)
        if drawn[0] < seen[-1] < drawn[-1]:
            end = time_axis(seen[-1:], panel, seconds)[0][0]
            ax.axvline(end, color="0.5", linewidth=0.8, linestyle="--")
        ax.margins(x=0.01)
        ax.spines[["top", "right"]].set_visible(False)

    is_shown = (seen >= drawn[0]) & (seen <= drawn[-1]) & ~np.isnan(values)
    dots = DOTS | {"markersize": 3.5 if is_shown.sum() <= FEW_DOTS else 1.2}
    axes[0].plot(time_axis(seen[is_shown], panel, seconds)[0], values[is_shown], **dots, label="observed")
    axes[0].set_ylabel(plain_text(channel) if label is None else label)
    axes[-1].set_xlabel(xlabel)
    format_dates(axes[-1], parts)
    figure.align_ylabels(list(axes))
    draw_legend(axes[0])
    return axes


def _observations(panel: Panel, series: Hashable, channel: Hashable) -> tuple[np.ndarray, np.ndarray]:
    """Times of a series, and what was seen of the channel there."""
    times, columns = series_columns(panel, series, [channel], "forecaster")
    if not len(times):
        raise DataError(f"Series {series!r} has no observation, so there is nothing to take apart.")
    return times, columns[:, 0]


def _spread(seen: np.ndarray, ahead: np.ndarray | None) -> np.ndarray:
    """Times of the observations, evenly spaced ones among them, and as many on to the end of what is ahead."""
    share = np.arange(1, N_POINTS + 1) / N_POINTS
    grids = [seen, seen[0] + share * (seen[-1] - seen[0])]
    if ahead is not None:
        grids.append(seen[-1] + share * (ahead[0] - seen[-1]))
    return np.unique(np.concatenate(grids))

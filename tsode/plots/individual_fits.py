"""Individual fits: each series of fit with its curve, bands, doses and censored values."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsode.errors import DataError, ParameterError
from tsode.frames.labels import guess_label
from tsode.inference.noise import Between, LogNormalNoise, Noise, ProportionalNoise
from tsode.plots.axis import format_dates, log_scale, plain_text, time_axis
from tsode.plots.event_ticks import draw_event_ticks
from tsode.plots.fan import DOTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["is_multiplicative", "plot_individual_fits", "read_channels"]

MOST = 30  # panels of a page
SHADES = {"": "0.85", "-state": "C0"}


def plot_individual_fits(
    model: Any,
    channels: Sequence[str] | None = None,
    *,
    series: Sequence[Hashable] | None = None,
    page: int = 1,
    level: float = 90,
    log: bool | None = None,
    n_draws: int = 400,
) -> Figure:
    """Draw each series of fit with the curve through it, and what is not known of that.

    The line is the posterior mean of the prediction without noise, given all rows of fit; the blue band holds what is
    not known of it, the grey one what would be observed: see ``fitted_curves``. Counts between times are drawn as steps
    over the time that they count. Values beyond a limit of quantification are triangles at the limit that point beyond
    it. Events stand at the foot.

    Parameters
    ----------
    model : fitted KnownODEForecaster
    channels : list of str, optional
        All by default.
    series : list of id, optional
        All by default, 30 panels a page.
    page : int
        Which of these, from 1 on; a line above the panels says how many there are.
    level : float
        Per cent that bands hold.
    log : bool, optional
        Whether values stand on a logarithmic axis; by default where noise is multiplicative.
    n_draws : int
        Of the posterior, for curves and bands.

    Returns
    -------
    Figure
        A panel a series and channel, in the order of fit.
    """
    try:
        import matplotlib.pyplot as plt
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise ImportError("plot_individual_fits draws with matplotlib: `pip install matplotlib`.") from error
    channels = read_channels(model, channels)
    ids = list(model._kept.data.ids)
    chosen = ids if series is None else list(series)
    unknown = [key for key in chosen if key not in ids]
    if unknown:
        raise DataError(f"There was no series {unknown[0]!r} in fit.{guess_label(unknown[0], ids)}")
    at_once = max(1, MOST // len(channels))
    n_pages = max(1, -(-len(chosen) // at_once))
    if not 1 <= page <= n_pages:
        raise ParameterError(f"page={page!r} is not there: {len(chosen)} series come on {n_pages} pages, from 1 on.")
    shown = chosen[(page - 1) * at_once : page * at_once]
    per_row = max(1, 4 // len(channels)) if len(shown) * len(channels) <= 12 else max(1, 5 // len(channels))
    n_columns = min(len(shown), per_row) * len(channels)
    n_rows = -(-len(shown) * len(channels) // n_columns)
    n_times = 200 if n_columns <= 2 else 100
    curves = model.fitted_curves(shown, n_times=n_times, level=level, n_draws=n_draws)
    wide = {1: 7.0, 2: 4.5}.get(n_columns, 3.0)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(wide * n_columns, (0.5 if n_columns > 2 else 1.0) + max(2.2, 0.55 * wide) * n_rows),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    panels = [(key, channel) for key in shown for channel in channels]
    labels: dict[str, Any] = {}
    for axis, (key, channel) in zip(axes.flat, panels):
        own = curves[curves[model.id_col] == key]
        is_log = is_multiplicative(model._density.system.observed[channel]) if log is None else log
        _draw_panel(axis, model, key, channel, own, level, is_log)
        if model._panel.time_kind != "datetime":
            axis.xaxis.set_major_locator(MaxNLocator(5 if n_columns > 2 else 8, steps=[1, 2, 2.5, 5, 10]))
        elif n_columns > 2:
            format_dates(axis, model._panel, most=3)
        if len(ids) > 1 or len(channels) > 1:
            words = [str(key)] * (len(ids) > 1) + [str(channel)] * (len(channels) > 1)
            axis.set_title(plain_text(": ".join(words)), fontsize="small")
        if len(channels) == 1 and axis in axes[:, 0]:
            axis.set_ylabel(plain_text(channel))
        labels |= {label: handle for handle, label in zip(*axis.get_legend_handles_labels()) if label not in labels}
    for axis in axes.flat[: len(panels) - n_columns]:
        axis.set_xlabel("")
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    n_side = max(1, int(figure.get_figwidth() / 1.8))
    where: dict[str, Any] = {"loc": "outside lower center", "ncols": n_side}
    figure.legend(labels.values(), labels.keys(), **where, frameon=False, fontsize="small")
    if n_pages > 1:
        figure.suptitle(f"page {page} of {n_pages}: {len(shown)} of {len(chosen)} series", fontsize="medium")
    return figure


def is_multiplicative(noise: Noise) -> bool:
    """Whether the spread of a noise is in proportion to what is observed."""
    return isinstance(noise, LogNormalNoise | ProportionalNoise)


def read_channels(model: Any, channels: Sequence[str] | None) -> list[str]:
    """Channels of a fitted model: all, or those named."""
    model._check_fitted()
    known = list(model._density.system.observed)
    names = known if channels is None else [channels] if isinstance(channels, str) else list(channels)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise DataError(f"There is no channel {unknown[0]!r}.{guess_label(unknown[0], known)} There are {known}."
                        if unknown else "channels= names none.")  # fmt: skip
    return names


def _draw_panel(
    axis: Axes, model: Any, key: Hashable, channel: str, curves: pd.DataFrame, level: float, is_log: bool
) -> None:
    """One series of one channel."""
    density, panel = model._density, model._panel
    row, noise = list(density.data.ids).index(key), density.system.observed[channel]
    counts = isinstance(noise.of, Between)
    curves = curves.dropna(subset=[channel])
    timeline = model.reader_.timeline
    native = timeline.to_native(density.data.times[row].numpy())
    whole = np.sort(np.concatenate([timeline.to_native(density.data.start[row : row + 1].numpy()), native]))
    _, xlabel, seconds = time_axis(whole, panel)

    def place(times: np.ndarray) -> Any:
        return time_axis(np.asarray(times), panel, seconds)[0]

    x = place(timeline.to_native(timeline.to_model(curves[model.time_col].to_numpy())))
    for kind, shade in SHADES.items():
        low, high = (curves[f"{channel}{kind}-{side}-{level:g}"].to_numpy() for side in ("lo", "hi"))
        axis.fill_between(
            x, low, high, step="pre" if counts else None, color=shade, alpha=0.35 if kind else 1.0, linewidth=0.0,
            label=f"{level:g} % of {'curves' if kind else 'observations'}",
        )  # fmt: skip
    style: dict[str, Any] = {"drawstyle": "steps-pre"} if counts else {}
    axis.plot(x, curves[channel], color="C0", linewidth=1.2, label="posterior mean", **style)

    cells = density.cells[channel]
    mine = cells.series == row
    times, values = native[cells.column[mine].numpy()], cells.values[mine].numpy()
    is_below, is_above = cells.is_below[mine].numpy(), cells.is_above[mine].numpy()
    inside = ~(is_below | is_above)
    axis.plot(place(times[inside]), values[inside], **DOTS, label="observed")
    hollow = DOTS | {"markerfacecolor": "white", "markersize": 5.0}
    for is_beyond, limit, marker, word in (
        (is_below, noise.below, "v", "below"), (is_above, noise.above, "^", "above"),
    ):  # fmt: skip
        if is_beyond.any():
            at = np.full(int(is_beyond.sum()), limit)
            axis.plot(place(times[is_beyond]), at, **hollow | {"marker": marker}, label=f"{word} the limit")
            axis.axhline(limit, color="0.5", linewidth=0.6, linestyle=":")
    if is_log:
        log_scale(axis, "y")
        shown = np.where(is_below, noise.below or 0.0, values)
        if (shown > 0).any():  # a curve that starts at zero goes down without end
            axis.set_ylim(bottom=max(axis.get_ylim()[0], 0.3 * shown[shown > 0].min()))
    events = density.data.events
    if events is not None:
        own = (events.time[row] <= density.data.times[row].max()) & ~events.is_part[row]
        starts = events.time[row][own]
        ends = (starts + events.duration[row][own]).clamp(max=float(density.data.times[row].max()))
        draw_event_ticks(
            axis, place(timeline.to_native(starts.numpy())), place(timeline.to_native(ends.numpy())), label="event"
        )
    format_dates(axis, panel)
    axis.set_xlabel(xlabel)
    axis.margins(x=0.02)
    axis.spines[["top", "right"]].set_visible(False)

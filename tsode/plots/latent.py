"""Latent state of one series over time, with its jumps."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tsode.diagnostics.path import latent_path
from tsode.errors import ParameterError
from tsode.plots.axis import draw_legend, format_dates, time_axis
from tsode.plots.event_ticks import draw_event_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_latent"]

N_COMPONENTS = 3


def plot_latent(
    forecaster: Any,
    *,
    series: Hashable = None,
    context: Any = None,
    events: Any = None,
    horizon: Any = None,
    components: Sequence[int] | None = None,
    first: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw components of the latent state along one series and on into the future.

    At a jump, a hollow dot is the state just before (the left limit, which predicts what is seen there) and a full dot
    the state just after (the right limit, which has seen it). Events at known times have ticks at the foot of the axes.
    A latent model is shown by the mean of its posterior paths, with some of them in pale lines.

    Parameters
    ----------
    forecaster : JumpODEForecaster, LatentODEForecaster or LatentSDEForecaster
        Fitted; see `tsode.diagnostics.latent_path`.
    series : label, optional
        Id; may be left out if there is one series only.
    context, events, horizon
        As in ``predict``; `horizon` is how far to go on after the last observation.
    components : sequence of int, optional
        Which to draw. The default are the three that vary most in what is drawn.
    first : time, optional
        Where to begin, in native time (a number, Timestamp or Timedelta); the default is the first observation.
    ax : Axes, optional
        Where to draw; the default is a new figure.

    Returns
    -------
    Axes
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_latent draws with matplotlib: `pip install matplotlib`.") from error
    path = latent_path(forecaster, series=series, context=context, events=events, horizon=horizon)
    start = path.times[0] if first is None else np.asarray(first).astype(path.times.dtype)
    is_shown, is_jump = path.times >= start, path.jump_times >= start
    if is_shown.sum() < 2:
        raise ParameterError(f"first={first!r} is after the end of what there is to draw: choose an earlier time.")
    z = path.z[:, is_shown]
    if components is None:
        components = sorted(np.argsort(-z.mean(axis=0).std(axis=0), kind="stable")[:N_COMPONENTS].tolist())
    if ax is None:
        ax = plt.subplots(figsize=(9.0, 4.5), layout="constrained")[1]
    x, xlabel, seconds = time_axis(path.times[is_shown], path.panel)
    at = time_axis(path.jump_times[is_jump], path.panel, seconds)[0]
    for number, component in enumerate(components):
        color = f"C{number}"
        for sampled in z[:8] if len(z) > 1 else ():
            ax.plot(x, sampled[:, component], color=color, linewidth=0.6, alpha=0.25)
        mean = z[..., component].mean(axis=0)
        ax.plot(x, mean, color=color, linewidth=1.4, label=f"z[{component}]")
        minus, plus = (
            side[:, is_jump, component].mean(axis=0) for side in (path.z_minus, path.z_plus)
        )  # fmt: skip
        size = 4.0 if is_jump.sum() <= 60 else 2.0
        style: dict[str, Any] = {"color": color, "linestyle": "none", "marker": "o", "markersize": size}
        ax.plot(at, minus, **style, markerfacecolor="white", markeredgewidth=0.9, zorder=3)
        ax.plot(at, plus, **style, zorder=3)
    is_input = path.is_input[is_jump]
    draw_event_ticks(ax, at[is_input], at[is_input], label="event")
    last = path.panel.select([path.panel.ids.index(path.series)]).last_times[0]
    if start < last < path.times[-1]:
        ax.axvline(time_axis(np.array([last]), path.panel, seconds)[0][0], color="0.5", linewidth=0.8, linestyle="--")
    format_dates(ax, path.panel)
    ax.set(xlabel=xlabel, ylabel="latent state")
    ax.margins(x=0.01)
    ax.spines[["top", "right"]].set_visible(False)
    draw_legend(ax)
    return ax

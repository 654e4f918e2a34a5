"""Phase portrait: a vector field in two coordinates of the state, and paths through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tsode.errors import ParameterError
from tsode.plots.axis import plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_phase"]


def plot_phase(
    field: Callable[[Any, Any], Any],
    trajectories: Sequence[Any] = (),
    *,
    coordinates: tuple[int, int] = (0, 1),
    at: Any = None,
    t: float = 0.0,
    xlim: tuple[float, float] | None = None,
    ylim: tuple[float, float] | None = None,
    n_arrows: int = 21,
    labels: tuple[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the phase portrait of a vector field: where it points, how fast, and how states move along it.

    Parameters
    ----------
    field : callable
        ``(t, z) -> dz/dt`` with ``t`` (b,) and ``z`` (b d), as in `tsode.solve`: a plain function of tensors, or a
        neural field such as ``forecaster.module_.evolution.dynamics`` (fitted with ``evolution="mlp"``).
    trajectories : sequence of array[n d]
        Paths to draw, NaN where one is broken; a dot marks where it starts.
    coordinates : tuple of int
        Which two to draw.
    at : array[d], optional
        What the others are held at. The default is zero; of which width, a field that has no ``n_state`` is asked with
        that of the trajectories, or two.
    t : float
        Time at which the arrows hold.
    xlim, ylim : tuple of float, optional
        The default is around the trajectories.
    n_arrows : int
        To a side.
    labels : tuple of str, optional
        Of the axes.
    ax : Axes, optional
        Where to draw; the default is a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    ParameterError
        If there is neither a trajectory nor both limits.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_phase draws with matplotlib: `pip install matplotlib`.") from error
    paths = [np.asarray(torch.as_tensor(path).detach().cpu(), dtype=float) for path in trajectories]
    if not paths and (xlim is None or ylim is None):
        raise ParameterError("There is no trajectory to choose the range by: give xlim= and ylim=.")
    i, j = coordinates
    xlim = _around([path[:, i] for path in paths]) if xlim is None else xlim
    ylim = _around([path[:, j] for path in paths]) if ylim is None else ylim
    width = paths[0].shape[1] if paths else max(i, j) + 1
    rest = np.zeros(getattr(field, "n_state", width)) if at is None else np.asarray(at, dtype=float)
    x, y = np.meshgrid(np.linspace(*xlim, n_arrows), np.linspace(*ylim, n_arrows))
    states = np.tile(rest, (x.size, 1))
    states[:, i], states[:, j] = x.ravel(), y.ravel()
    weight = next(field.parameters(), None) if isinstance(field, torch.nn.Module) else None
    z = torch.from_numpy(states) if weight is None else torch.from_numpy(states).to(weight)
    with torch.no_grad():
        times = torch.full((len(z),), float(t), dtype=torch.float64, device=z.device)
        rate = torch.as_tensor(field(times, z)).detach().cpu().double().numpy()
    # arrows show the way on the page, all of one length: colour has the speed, in the units of the data
    u, v = rate[:, i] / (xlim[1] - xlim[0]), rate[:, j] / (ylim[1] - ylim[0])
    length = np.hypot(u, v)
    u, v = (np.divide(part, length, out=np.zeros_like(part), where=length > 0) for part in (u, v))
    if ax is None:
        ax = plt.subplots(figsize=(6.5, 5.5), layout="constrained")[1]
    arrows = ax.quiver(
        x.ravel(), y.ravel(), u, v, np.hypot(rate[:, i], rate[:, j]), cmap="viridis", pivot="mid", angles="uv",
        scale=1.3 * n_arrows, width=0.0035, alpha=0.75,
    )  # fmt: skip
    ax.figure.colorbar(arrows, ax=ax, label="speed", shrink=0.85)
    for path in paths:
        ax.plot(path[:, i], path[:, j], color="black", linewidth=1.2)
        ax.plot(path[:1, i], path[:1, j], color="black", marker="o", markersize=4.5, linestyle="none")
    names = labels or (f"z[{i}]", f"z[{j}]")
    ax.set(xlim=xlim, ylim=ylim, xlabel=plain_text(names[0]), ylabel=plain_text(names[1]))
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _around(parts: Sequence[np.ndarray]) -> tuple[float, float]:
    """From the lowest to the highest number, with a margin."""
    low, high = min(np.nanmin(part) for part in parts), max(np.nanmax(part) for part in parts)
    margin = 0.1 * (high - low) or 1.0
    return float(low - margin), float(high + margin)

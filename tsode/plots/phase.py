"""Phase portrait: a vector field in two coordinates of the state, and paths through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tsode.errors import ParameterError
from tsode.plots.axis import plain_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_phase"]

MARKS: dict[str, dict[str, Any]] = {
    "sink": {"marker": "o", "color": "black"},
    "source": {"marker": "o", "markerfacecolor": "white", "markeredgecolor": "black"},
    "saddle": {"marker": "o", "fillstyle": "left", "color": "black", "markerfacecoloralt": "white"},
}
CROSS: dict[str, Any] = {"marker": "x", "color": "black"}
N_SERIES = 30  # points of a power series
STEP, N_STEPS, BACK = 0.006, 2000, 20  # of a curve, in widths of the picture; so many steps back it was not at rest


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
    points: pd.DataFrame | None = None,
    manifolds: Sequence[pd.DataFrame] = (),
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
        The default is around the trajectories and points.
    n_arrows : int
        To a side.
    labels : tuple of str, optional
        Of the axes.
    points : frame, optional
        Of `tsode.stability.fixed_points`: sinks are filled, sources open, saddles half filled, others crosses.
    manifolds : sequence of frames
        Of `tsode.stability.invariant_manifold` in one dimension: unstable ones are red and stable ones blue, from their
        power series and from there on along the field, or against it.
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
    marks = np.empty((0, 2)) if points is None else points.iloc[:, list(coordinates)].to_numpy(dtype=float)
    if not paths and not len(marks) and (xlim is None or ylim is None):
        raise ParameterError("There is no trajectory to choose the range by: give xlim= and ylim=.")
    i, j = coordinates
    xlim = _around([*(path[:, i] for path in paths), *([marks[:, 0]] if len(marks) else [])]) if xlim is None else xlim
    ylim = _around([*(path[:, j] for path in paths), *([marks[:, 1]] if len(marks) else [])]) if ylim is None else ylim
    wide = [manifold.shape[1] for manifold in manifolds] + ([] if points is None else [_n_states(points)])
    width = paths[0].shape[1] if paths else max([max(i, j) + 1, *wide])
    rest = np.zeros(getattr(field, "n_state", width)) if at is None else np.asarray(at, dtype=float)
    x, y = np.meshgrid(np.linspace(*xlim, n_arrows), np.linspace(*ylim, n_arrows))
    states = np.tile(rest, (x.size, 1))
    states[:, i], states[:, j] = x.ravel(), y.ravel()
    rate = _rates(field, states, t)
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
    for manifold in manifolds:
        is_unstable = manifold.attrs["eigenvalue"] > 0
        label = f"{'un' if is_unstable else ''}stable manifold"
        for half in _halves(field, manifold, t, coordinates, xlim, ylim):
            ax.plot(half[:, i], half[:, j], color="C3" if is_unstable else "C0", linewidth=1.8, label=_new(ax, label))
    for (u, v), kind in zip(marks, [] if points is None else points["kind"]):
        group = next((name for name in ("sink", "source", "saddle") if kind.startswith(name)), kind)
        ax.plot(
            [u],
            [v],
            **{"linestyle": "none", "markersize": 9.0, "zorder": 5, **MARKS.get(group, CROSS)},
            label=_new(ax, group),
        )
    names = labels or (f"z[{i}]", f"z[{j}]")
    ax.set(xlim=xlim, ylim=ylim, xlabel=plain_text(names[0]), ylabel=plain_text(names[1]))
    ax.spines[["top", "right"]].set_visible(False)
    if points is not None or manifolds:
        ax.legend(loc="upper right", fontsize="small", framealpha=0.85)
    return ax


def _rates(field: Callable[[Any, Any], Any], states: np.ndarray, t: float) -> np.ndarray:
    """The field at states (n d)."""
    weight = next(field.parameters(), None) if isinstance(field, torch.nn.Module) else None
    z = torch.from_numpy(states) if weight is None else torch.from_numpy(states).to(weight)
    with torch.no_grad():
        times = torch.full((len(z),), float(t), dtype=torch.float64, device=z.device)
        rate: np.ndarray = torch.as_tensor(field(times, z)).detach().cpu().double().numpy()
    return rate


def _n_states(points: pd.DataFrame) -> int:
    """Columns before the kind."""
    return list(points.columns).index("kind")


def _new(ax: Axes, label: str) -> str | None:
    """A label that is not in the legend yet."""
    return None if label in ax.get_legend_handles_labels()[1] else label


def _halves(
    field: Any, manifold: pd.DataFrame, t: float, coordinates: tuple[int, int], xlim: Any, ylim: Any
) -> list[np.ndarray]:  # fmt: skip
    """Both halves (n d) of a curve: the power series, and the field's own way from its end to the border."""
    series, extent = manifold.to_numpy(dtype=float), manifold.attrs["radius"]
    sign = 1.0 if manifold.attrs["eigenvalue"] > 0 else -1.0
    frame = np.array([xlim, ylim], dtype=float)
    size, drawn = np.ptp(frame, axis=1), list(coordinates)

    def way(z: np.ndarray) -> np.ndarray:
        """As long on the page at any speed."""
        rate = _rates(field, z, t)
        page = np.linalg.norm(rate[:, drawn] / size, axis=1, keepdims=True)
        return sign * np.divide(rate, page, out=np.zeros_like(rate), where=page > 0)

    sides = np.array([1.0, -1.0])[:, None] * extent
    path = list(
        np.moveaxis((sides * np.linspace(0.0, 1.0, N_SERIES))[..., None] ** np.arange(len(series)) @ series, 1, 0)
    )
    lengths = np.zeros(2, dtype=int)
    for _ in range(N_STEPS):
        z = path[-1]
        is_out = (np.abs(z[:, drawn] - frame.mean(axis=1)) > 0.6 * size).any(axis=1)
        is_at_rest = np.zeros(2, dtype=bool)
        if len(path) > N_SERIES + BACK:
            is_at_rest = np.linalg.norm((z - path[-BACK])[:, drawn] / size, axis=1) < 3 * STEP
        lengths = np.where((lengths == 0) & (is_out | is_at_rest | ~np.isfinite(z).all(axis=1)), len(path), lengths)
        if lengths.all():
            break
        moved = z + STEP * way(z + STEP / 2 * way(z))  # midpoint rule
        path.append(np.where(lengths[:, None] > 0, z, moved))
    whole = np.stack(path)
    return [whole[: n or len(whole), half] for half, n in enumerate(lengths)]


def _around(parts: Sequence[np.ndarray]) -> tuple[float, float]:
    """From the lowest to the highest number, with a margin."""
    low, high = min(np.nanmin(part) for part in parts), max(np.nanmax(part) for part in parts)
    margin = 0.1 * (high - low) or 1.0
    return float(low - margin), float(high + margin)

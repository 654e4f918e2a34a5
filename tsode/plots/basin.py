"""Basins of attraction in two coordinates of the state, with their attractors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsode.errors import ParameterError
from tsode.plots.axis import draw_legend, plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_basin"]

UNDECIDED, GONE = (0.35, 0.35, 0.35, 1.0), (0.85, 0.85, 0.85, 1.0)
FEW = 64  # states of a cycle of a map, at most


def plot_basin(
    basins: pd.DataFrame, distances: pd.DataFrame | None = None, *, coordinates: tuple[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw which attractor states come to: a colour each, with its share in the legend, and the attractors themselves.

    Parameters
    ----------
    basins : frame
        Of `tsode.stability.basin`. A grid in two coordinates is drawn as cells, other states as dots.
    distances : frame, optional
        Of `tsode.stability.basin_distance`: states, each with a line to the edge and its length.
    coordinates : (str, str), optional
        Which two to draw; the default are those of the grid, or the first two.
    ax : Axes, optional
        Where to draw; the default is a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    ParameterError
        If there is one coordinate only.
    """
    try:
        import matplotlib.pyplot as plt
        from matplotlib.colors import ListedColormap
    except ImportError as error:
        raise ImportError("plot_basin draws with matplotlib: `pip install matplotlib`.") from error
    names = basins.attrs["names"]
    if len(names) < 2:
        raise ParameterError(f"A picture takes two coordinates, but there is one, {names[0]!r}.")
    grid = basins.attrs["coordinates"]
    x, y = coordinates or ([names[i] for i in grid] if grid else names[:2])
    i, j = names.index(x), names.index(y)
    if ax is None:
        ax = plt.subplots(figsize=(7.5, 5.5), layout="constrained")[1]
    attractors = basins.attrs["attractors"]
    palette = plt.get_cmap("tab10" if len(attractors) <= 10 else "tab20")
    own: list[Any] = [palette(k % palette.N) for k in range(len(attractors))]
    code = np.where(basins["reason"] == "diverged", 1, np.where(basins["reason"] != "", 0, basins["attractor"] + 2))
    colours = ListedColormap([UNDECIDED, GONE, *own])
    style: dict[str, Any] = {"cmap": colours, "vmin": -0.5, "vmax": len(own) + 1.5}
    columns, rows = np.unique(basins[x]), np.unique(basins[y])
    if len(columns) * len(rows) == len(basins):
        cells = pd.Series(code, pd.MultiIndex.from_frame(basins[[y, x]])).unstack().to_numpy()
        ax.pcolormesh(columns, rows, cells, shading="nearest", alpha=0.55, linewidth=0, rasterized=True, **style)
    else:
        ax.scatter(basins[x], basins[y], c=code, s=9.0, alpha=0.7, linewidth=0, **style)
    for one in attractors:
        states = np.asarray(one["states"])
        is_line = one["kind"] == "cycle" and len(states) > FEW  # of a map it is a few points
        marker = "" if is_line else "." if one["kind"] == "set" else "o"
        ax.plot(
            states[:, i], states[:, j], linestyle="-" if is_line else "none", marker=marker, color="black",
            markersize=7.0 if marker == "o" else 1.5, markeredgecolor="white" if marker == "o" else "black",
            linewidth=1.5, zorder=3,
        )  # fmt: skip
    for _, row in () if distances is None else distances.iterrows():
        ax.plot([row[x], row[f"edge_{x}"]], [row[y], row[f"edge_{y}"]], color="black", linewidth=1.0, zorder=4)
        ax.plot([row[x]], [row[y]], marker="X", markersize=8.0, color="white", markeredgecolor="black", zorder=5)
        ax.annotate(
            f"{row['distance']:.3g}", (row[x], row[y]), xytext=(7, -13), textcoords="offset points",
            fontsize="small", zorder=6,
            bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1.0},
        )  # fmt: skip
    shares = [(own[k], f"{one['kind']} {one['label']}: {one['share']:.1%}") for k, one in enumerate(attractors)]
    undecided = basins.attrs["undecided"]
    shares += [
        (c, f"{why}: {undecided[why]:.1%}")
        for c, why in ((GONE, "diverged"), (UNDECIDED, "unsettled"))
        if undecided[why]
    ]
    low, high = np.asarray(basins.attrs["box"]).T
    ax.set(xlim=(low[i], high[i]), ylim=(low[j], high[j]), xlabel=plain_text(x), ylabel=plain_text(y))
    ax.spines[["top", "right"]].set_visible(False)
    for colour, label in shares:
        ax.fill([], [], color=colour, alpha=0.55, label=label)
    draw_legend(ax)
    return ax

"""Bifurcation diagram: branches of fixed points and cycles along a parameter, with what happens on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tsode.errors import ParameterError
from tsode.plots.axis import draw_legend, plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_bifurcation"]

MARKERS = {
    "fold": "s", "branch point": "D", "hopf": "o", "period doubling": "^", "torus": "v", "neutral saddle": "P",
}  # fmt: skip
POINTS, CYCLES = "black", "C0"


def plot_bifurcation(
    branches: pd.DataFrame | Sequence[pd.DataFrame], *, coordinate: str | None = None, ax: Axes | None = None
) -> Axes:  # fmt: skip
    """Draw branches of `tsode.stability.continuation` over their parameter.

    Fixed points are black and cycles blue, by the least and the largest value that they reach; what is stable is solid
    and thick, what is not dashed. Events have a mark each, with their names in the legend.

    Parameters
    ----------
    branches : frame or sequence of frames
        Of fixed points, of cycles, or both, along one parameter.
    coordinate : str, optional
        Which to draw; the first is the default.
    ax : Axes, optional
        Where to draw; the default is a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    ParameterError
        If frames are of several parameters, or have no such coordinate.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_bifurcation draws with matplotlib: `pip install matplotlib`.") from error
    frames = [branches] if isinstance(branches, pd.DataFrame) else list(branches)
    name, shown = _what(frames, coordinate)
    if ax is None:
        ax = plt.subplots(figsize=(8.0, 5.0), layout="constrained")[1]
    labelled: set[str] = set()
    for frame in frames:
        is_cycle = frame.attrs["of"] == "cycles"
        sides = [f"max_{shown}", f"min_{shown}"] if is_cycle else [shown]
        for _, branch in frame.groupby("branch"):
            for is_stable, part in _runs(branch):
                label = f"{'' if is_stable else 'un'}stable {'cycle' if is_cycle else 'fixed point'}"
                for side in sides:
                    ax.plot(
                        part[name], part[side], color=CYCLES if is_cycle else POINTS, label=_once(label, labelled),
                        linestyle="-" if is_stable else (0, (4, 2.5)), linewidth=2.0 if is_stable else 1.2,
                    )  # fmt: skip
        found = frame[frame["event"] != ""]
        for event, some in found.groupby("event", sort=False):
            for side in sides:
                ax.plot(
                    some[name], some[side], linestyle="none", marker=MARKERS.get(str(event), "X"), markersize=7.0,
                    color="C1" if event in MARKERS else "C3", markeredgecolor="black", markeredgewidth=0.8, zorder=4,
                    label=_once(str(event), labelled),
                )  # fmt: skip
    ax.set(xlabel=plain_text(name), ylabel=plain_text(shown))
    ax.margins(x=0.01)
    ax.spines[["top", "right"]].set_visible(False)
    draw_legend(ax)
    return ax


def _what(frames: Sequence[pd.DataFrame], coordinate: str | None) -> tuple[str, str]:
    """Names of the parameter and of the coordinate."""
    if not frames or any("of" not in frame.attrs for frame in frames):
        raise ParameterError("There is no branch to draw: give frames of tsode.stability.continuation.")
    parameters = sorted({frame.attrs["parameter"] for frame in frames})
    if len(parameters) > 1:
        raise ParameterError(f"The branches are of several parameters, {', '.join(parameters)}: draw each by itself.")
    names = frames[0].attrs["names"]
    shown = names[0] if coordinate is None else coordinate
    if shown not in names:
        raise ParameterError(f"coordinate={coordinate!r} is none of {', '.join(map(repr, names))}.")
    return parameters[0], shown


def _runs(branch: pd.DataFrame) -> Iterator[tuple[bool, pd.DataFrame]]:
    """Rows of one stability after the other; an event, where it changes, belongs to both sides."""
    stable, is_event = branch["is_stable"].to_numpy(), (branch["event"] != "").to_numpy()
    steps = np.where(is_event[:-1], stable[1:], stable[:-1])
    cuts = [0, *(np.flatnonzero(steps[1:] != steps[:-1]) + 1).tolist(), len(steps)]
    for first, last in pairwise(cuts):
        if last > first:
            yield bool(steps[first]), branch.iloc[first : last + 1]


def _once(label: str, labelled: set[str]) -> str | None:
    """A label the first time that it comes."""
    if label in labelled:
        return None
    labelled.add(label)
    return label

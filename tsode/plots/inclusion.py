"""Plot of inclusion probabilities: which edges of a network the data support, and the structures that lead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsode.errors import ParameterError
from tsode.plots.axis import plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_inclusion"]

ARROWS = ("->", "→")
DARK = 0.6  # probability from which a number is written in white


def plot_inclusion(comparison: Any, *, n_structures: int = 8, axes: Sequence[Axes] | None = None) -> np.ndarray:
    """Draw the probability of each edge, and the weights of the structures that lead.

    Edges that are named ``"source->target"`` make a matrix, a row a target and a column a source; where there is no
    candidate a cell is empty. A dot marks edges that are more probable than before the data. Others, and laws, are bars
    with a line at their prior probability. Beside it stand the weights of the leading structures by evidence and by
    stacking; those that no data of these channels tell apart have the same mark.

    Parameters
    ----------
    comparison : StructureComparison
        Of `tsode.compare_structures`.
    n_structures : int
        At most so many structures.
    axes : two Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    array of two Axes
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot_inclusion draws with matplotlib: `pip install matplotlib`.") from error
    if isinstance(n_structures, bool) or not isinstance(n_structures, int) or n_structures < 1:
        raise ParameterError(f"n_structures must be a whole number from 1 on, but is {n_structures!r}.")
    table = comparison.table.head(n_structures)
    if axes is None:
        height = max(3.2, 0.9 + 0.36 * max(len(table), len(comparison.inclusion)))
        axes = plt.subplots(1, 2, figsize=(10.0, height), layout="constrained", width_ratios=(1.0, 1.3))[1]
    left, right = axes
    ends = [_ends(name) for name in comparison.inclusion.index]
    if all(end is not None for end in ends):
        _draw_matrix(left, comparison.inclusion, ends)  # type: ignore[arg-type]
    else:
        _draw_bars(left, comparison.inclusion)
    _draw_structures(right, table, comparison)
    return np.array([left, right])


def _ends(name: str) -> tuple[str, str] | None:
    """Source and target of an edge, if it is named by them."""
    for arrow in ARROWS:
        parts = [part.strip() for part in name.split(arrow)]
        if len(parts) == 2 and all(parts):
            return parts[0], parts[1]
    return None


def _draw_matrix(ax: Axes, inclusion: pd.DataFrame, ends: Sequence[tuple[str, str]]) -> None:
    nodes = list(dict.fromkeys(node for end in ends for node in end))
    of_node = {node: k for k, node in enumerate(nodes)}
    cells = np.full((len(nodes), len(nodes)), np.nan)
    for (source, target), (_, row) in zip(ends, inclusion.iterrows()):
        cells[of_node[target], of_node[source]] = row["probability"]
    ax.imshow(np.ma.masked_invalid(cells), cmap="Blues", vmin=0.0, vmax=1.0)
    for (source, target), (_, row) in zip(ends, inclusion.iterrows()):
        at, color = (of_node[source], of_node[target]), "white" if row["probability"] > DARK else "black"
        ax.text(*at, f"{row['probability']:.2f}", ha="center", va="center", color=color)
        if row["probability"] > row["prior"]:
            ax.plot(at[0] + 0.36, at[1] - 0.36, marker="o", markersize=4, color=color)
    names = [plain_text(node) for node in nodes]
    ax.set_xticks(range(len(nodes)), names)
    ax.set_yticks(range(len(nodes)), names)
    ax.set_xticks(np.arange(len(nodes) + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(len(nodes) + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="0.85", linewidth=0.8)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    ax.set(xlabel="source", ylabel="target", title="probability of an edge")


def _draw_bars(ax: Axes, inclusion: pd.DataFrame) -> None:
    place = [float(k) for k in range(len(inclusion))]
    ax.barh(place, inclusion["probability"], color="C0", height=0.7)
    for at, prior, probability in zip(place, inclusion["prior"], inclusion["probability"]):
        ax.plot([prior, prior], [at - 0.42, at + 0.42], color="black", linewidth=1.2)
        ax.text(max(prior, probability) + 0.02, at, f"{probability:.2f}", va="center")
    ax.set_yticks(place, [plain_text(name) for name in inclusion.index])
    ax.invert_yaxis()
    ax.set(xlim=(0.0, 1.15), xlabel="probability (line: before the data)", title="terms and laws")
    ax.set_xticks([0.0, 0.5, 1.0])
    ax.spines[["top", "right"]].set_visible(False)


def _draw_structures(ax: Axes, table: pd.DataFrame, comparison: Any) -> None:
    place = np.arange(len(table))
    ax.barh(place - 0.19, table["probability"], height=0.36, color="C0", label="evidence")
    ax.barh(place + 0.19, table["stacking_weight"], height=0.36, color="C1", label="stacking")
    marks = {
        name: letter
        for letter, alike in zip(
            "abcdefghijklmnopqrstuvwxyz", [c for c in comparison.classes if c.kind == "equivalent"]
        )
        for name in alike.structures
    }
    labels = [plain_text(name) + (f"  ({marks[name]})" if name in marks else "") for name in table.index]
    ax.set_yticks(place, labels)
    ax.invert_yaxis()
    ax.set(xlim=(0.0, 1.0), xlabel="weight", title="structures" + (" (same letter: equivalent)" if marks else ""))
    ax.legend(frameon=False, loc="lower right")
    ax.spines[["top", "right"]].set_visible(False)

"""Basins of attraction: the attractor that each state of a grid comes to, and the shares of a box that are theirs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.numerics.base import Solver
from tsode.stability.attractors import (
    DIVERGED,
    N_TURNS,
    UNSETTLED,
    Attractor,
    Scene,
    find_attractors,
    find_more,
    fixed_attractor,
    settle,
)
from tsode.stability.flow import Flow, as_flow, read_states

__all__ = ["basin", "read_attractors", "read_scene", "states_of"]

MOST_AXES = 3  # of a grid over all coordinates
REASONS = {UNSETTLED: "unsettled", DIVERGED: "diverged"}


@torch.no_grad()
def basin(
    system: Any, box: Sequence[tuple[float, float]], *, n: int = 40, coordinates: tuple[int, int] | None = None,
    at: Any = None, starts: Any = None, n_starts: int = 2000, attractors: pd.DataFrame | None = None,
    duration: float | None = None, names: Sequence[str] | None = None, solver: Solver | None = None,
    random_state: Any = 0,
) -> pd.DataFrame:  # fmt: skip
    """Attractor that each state of a grid comes to, with the shares of the box that are theirs.

    Attractors are found first: sinks by `fixed_points`, then cycles and other sets that states from all over the box
    come to, also where these lie outside of it. Their labels go by their coordinates and do not depend on the grid.
    Then all states are followed side by side until they are in the surroundings of one: of a sink an ellipsoid in which
    a quadratic form falls along the flow at all of many states; of a cycle, or a set, three times in a row near it.

    Parameters
    ----------
    system : callable, Dynamics, Solved or Map
        ``f(t, z)`` that does not read the time.
    box : sequence of (low, high)
        One pair a coordinate.
    n : int
        States to a side of the grid; they are the centres of its cells.
    coordinates : (i, j), optional
        Those of the grid, the others held. The default are all up to three; of more, `n_starts` states that fill the
        box evenly (Sobol).
    at : array[d], optional
        What the others are held at: the middle of the box.
    starts : array[b d] or frame, optional
        States to be asked about, in place of a grid.
    attractors : frame, optional
        An earlier answer of this function, whose attractors and labels are taken.
    duration : float, optional
        Longest time that a state is followed; by default five hundred times that in which states cross the box, and
        thirty relaxation times of the slowest sink.
    names : sequence of str, optional
        Of the coordinates.
    solver : Solver, optional
    random_state : int or Generator
        Of the starts from which fixed points are looked for.

    Returns
    -------
    DataFrame
        A row a state: its coordinates, ``attractor`` (label from 0; -1 where undecided) and ``reason`` ("diverged": a
        thousand times the size of the box away or without bound; "unsettled" within the duration, as on an edge).
        ``attrs["attractors"]``: a dict each, of ``label``, ``kind`` ("fixed point", "cycle", "set"), ``is_in_box``,
        ``share`` of the states, its ``standard_error`` (of as many random states; of a grid an upper bound) and
        ``states``. ``attrs["undecided"]``: the share of each reason.

    Raises
    ------
    ParameterError
        If the box is no box, the field reads the time, or nothing attracts.

    References
    ----------
    Datseris, Wagemakers, "Effortless estimation of basins of attraction", Chaos 32, 2022. Menck, Heitzig, Marwan,
    Kurths, "How basin stability complements the linear-stability paradigm", Nature Physics 9, 2013.

    Examples
    --------
    >>> from tsode.stability import basin
    >>> table = basin(lambda t, z: z - z**3, [(-2, 2)], n=10)
    >>> table["attractor"].tolist(), [one["share"] for one in table.attrs["attractors"]]
    ([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], [0.5, 0.5])
    """
    sides = np.asarray(box, dtype=float)
    if sides.ndim != 2 or sides.shape[1] != 2 or not (sides[:, 0] < sides[:, 1]).all():
        raise ParameterError(f"box must have pairs (low, high) with low < high, one a state, but is {box}.")
    flow = as_flow(system, len(sides), names, solver)
    scene = read_scene(flow, sides, duration)
    if starts is not None:
        z = states_of(starts, flow)
    else:
        z = _grid(scene, n, coordinates, at, n_starts)
    known = read_attractors(scene, attractors.attrs["attractors"]) if attractors is not None else None
    found = find_attractors(scene, random_state) if known is None else known
    if duration is None:
        scene = scene.patient(found)
    label, end = settle(scene, found, z)
    if known is None and (label == UNSETTLED).any():
        # what no probe has come to; states on an edge do not come to anything
        more = find_more(scene, found, end[label == UNSETTLED])
        if len(more) > len(found):
            found = more
            label, _ = settle(scene, found, z)
    if not found:
        raise ParameterError(
            f"Nothing was found that attracts: of {len(z)} states {int((label == DIVERGED).sum())} diverged and "
            f"{int((label == UNSETTLED).sum())} did not settle within {scene.duration:.6g}. Give a longer duration= "
            "or another box; a flow that keeps something has no attractor."
        )
    table = pd.DataFrame(z.numpy(), columns=list(flow.names))
    table["attractor"] = label.clamp(min=-1).numpy()
    table["reason"] = [REASONS.get(code, "") for code in label.tolist()]
    table.attrs = {
        "attractors": [_record(scene, i, one, label) for i, one in enumerate(found)],
        "undecided": {reason: float((label == code).double().mean()) for code, reason in REASONS.items()},
        "names": list(flow.names), "box": sides.tolist(), "duration": scene.duration,
        "coordinates": list(coordinates) if coordinates is not None and starts is None else None,
    }  # fmt: skip
    return table


def read_scene(flow: Flow, sides: np.ndarray, duration: float | None) -> Scene:
    """Box (d, 2) of a flow, and how long states take in it."""
    low, high = (torch.from_numpy(side.copy()) for side in sides.T)
    sobol = torch.quasirandom.SobolEngine(len(low), scramble=True, seed=1)
    z = low + (high - low) * sobol.draw(64, dtype=torch.float64)
    zero = torch.zeros(len(z), dtype=torch.float64)
    slope = flow.slope(zero, z)
    if not torch.equal(slope, flow.slope(zero + 0.37, z)):
        raise ParameterError("The field reads the time: basins are those of its period map, as a Map.")
    speed = (slope / ((high - low) / 2)).norm(dim=1)
    speed = speed[speed.isfinite() & (speed > 0)]
    time = 1.0 if flow.is_map or not len(speed) else 1 / float(speed.median())
    return Scene(flow, low, high, time, N_TURNS * time if duration is None else duration)


def states_of(starts: Any, flow: Flow) -> Tensor:
    """States (b d) of what a user gives; of a frame the flow's own columns."""
    if isinstance(starts, pd.DataFrame):
        starts = starts[list(flow.names)].to_numpy(dtype=float).copy()
    return read_states(starts)


def _grid(scene: Scene, n: int, coordinates: tuple[int, int] | None, at: Any, n_starts: int) -> Tensor:
    d = len(scene.low)
    axes = tuple(range(d)) if coordinates is None else coordinates
    if len(axes) > MOST_AXES:
        sobol = torch.quasirandom.SobolEngine(d, scramble=True, seed=2)
        return scene.low + (scene.high - scene.low) * sobol.draw(n_starts, dtype=torch.float64)
    centres = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    sides = [scene.low[i] + (scene.high[i] - scene.low[i]) * centres for i in axes]
    held = scene.middle if at is None else read_states(at)[0]
    z = held.repeat(n ** len(axes), 1)
    z[:, list(axes)] = torch.stack(torch.meshgrid(*sides, indexing="ij"), dim=-1).reshape(-1, len(axes))
    return z


def _record(scene: Scene, i: int, one: Attractor, label: Tensor) -> dict[str, Any]:
    share = float((label == i).double().mean())
    inside = (one.states >= scene.low) & (one.states <= scene.high)
    return {
        "label": i, "kind": one.kind, "is_in_box": bool(inside.all()), "share": share,
        "standard_error": math.sqrt(share * (1 - share) / len(label)), "states": one.states.tolist(), "near": one.near,
    }  # fmt: skip


def read_attractors(scene: Scene, records: list[dict[str, Any]]) -> list[Attractor]:
    """Attractors of an earlier answer, in their order."""
    found = []
    for record in records:
        states = torch.tensor(record["states"], dtype=torch.float64)
        one = fixed_attractor(scene, states[0]) if record["kind"] == "fixed point" else None
        found.append(one or Attractor(record["kind"], states, scene.scale, record["near"]))
    return found

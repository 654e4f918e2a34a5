"""Distance of states to the edge of their basin, along straight lines to other basins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode.numerics.base import Solver
from tsode.stability.attractors import UNSETTLED, Attractor, Scene, settle
from tsode.stability.basins import read_attractors, read_scene, states_of
from tsode.stability.flow import as_flow

__all__ = ["basin_distance"]

N_TARGETS, N_BESIDE = 16, 6  # lines of a state: to the nearest states of other basins; beside the best, a coordinate
N_FIRST, N_NEXT = 16, 8  # parts that a line, and then the one with the change, is cut into
ANGLES = (0.5, 0.2, 0.08, 0.03, 0.01)
ROUGH = 1e-3  # of a line: how well changes are known while there is still a choice


@torch.no_grad()
def basin_distance(
    system: Any, states: Any, basins: pd.DataFrame, *, scale: Sequence[float] | None = None, tolerance: float = 1e-8,
    solver: Solver | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Distance of states to the edge of their basin: no more than this has to be pushed for another end.

    From each state straight lines to the nearest states of other basins are followed to where the attractor first
    changes, by bisection; then lines beside the shortest, at ever smaller angles. The answer is an upper bound: the
    edge is there, to the tolerance, but another way may be shorter.

    Parameters
    ----------
    system : callable, Dynamics, Solved or Map
        The one of `basins`.
    states : array[d], array[b d], dict or frame
    basins : frame
        Of `basin`, over a grid fine enough to have states of the other basins. Divergence counts as a basin.
    scale : sequence of float, optional
        By which coordinates are divided before their distance is taken; by default 1, which is in their own units.
    tolerance : float
        Of the distance.

    Returns
    -------
    DataFrame
        A row a state: its coordinates, ``attractor``, ``distance``, ``edge_`` and coordinate (the state on the edge),
        and ``beyond`` (label on the other side; -1 is none). Where no other basin is known, or the state does not
        settle itself, the distance is NaN.

    Examples
    --------
    >>> from tsode.stability import basin, basin_distance
    >>> field = lambda t, z: z - z**3
    >>> near = basin_distance(field, [[0.3], [-0.7]], basin(field, [(-2, 2)], n=10))
    >>> near["attractor"].tolist(), near["distance"].round(6).tolist()
    ([1, 0], [0.3, 0.7])
    """
    names = basins.attrs["names"]
    flow = as_flow(system, len(names), names, solver)
    scene = read_scene(flow, np.asarray(basins.attrs["box"], dtype=float), basins.attrs["duration"])
    found = read_attractors(scene, basins.attrs["attractors"])
    z = states_of(states, flow)
    size = torch.ones(len(names), dtype=torch.float64) if scale is None else torch.tensor(scale, dtype=torch.float64)
    label, _ = settle(scene, found, z)
    codes = torch.tensor(basins["attractor"].to_numpy(dtype=np.int64).copy())
    is_decided = torch.tensor((basins["reason"] != "unsettled").to_numpy().copy())
    grid = torch.from_numpy(basins[names].to_numpy(dtype=float).copy())
    targets = [
        _targets(grid[(codes != max(own, -1)) & is_decided], start, size) for start, own in zip(z, label.tolist())
    ]
    asked = [i for i, some in enumerate(targets) if len(some) and label[i] != UNSETTLED]
    edges = _Edges(scene, found, z[asked], label[asked], size)
    if asked:
        ways = [(i, target - z[row]) for i, row in enumerate(asked) for target in targets[row]]
        edges.try_lines(torch.tensor([i for i, _ in ways]), torch.stack([way for _, way in ways]), ROUGH)
        generator = torch.Generator().manual_seed(0)
        for angle in ANGLES if len(names) > 1 else ():
            edges.try_lines(*edges.beside(angle, generator), min(ROUGH, angle**2 / 20))
        edges.try_lines(torch.arange(len(asked)), edges.way * (1 + ROUGH), 0.0, tolerance)
    table = pd.DataFrame(z.numpy(), columns=names)
    table["attractor"] = label.clamp(min=-1).numpy()
    table["distance"] = math.nan
    table[[f"edge_{name}" for name in names]] = math.nan
    table["beyond"] = -1
    table.loc[asked, "distance"] = edges.distance.numpy()
    table.loc[asked, [f"edge_{name}" for name in names]] = (z[asked] + edges.way).numpy()
    table.loc[asked, "beyond"] = edges.beyond.clamp(min=-1).numpy()
    return table


def _targets(others: Tensor, start: Tensor, size: Tensor) -> Tensor:
    """The nearest of the states of other basins."""
    return others[((others - start) / size).norm(dim=1).argsort(stable=True)[:N_TARGETS]]


class _Edges:
    """Nearest edge known of each start.

    Attributes
    ----------
    way : Tensor[b d]
        From the start to it; infinite where none is known.
    distance : Tensor[b]
    beyond : Tensor[b]
        Label on the other side.
    """

    def __init__(self, scene: Scene, found: list[Attractor], start: Tensor, own: Tensor, size: Tensor) -> None:
        self.scene, self.found, self.start, self.own, self.size = scene, found, start, own, size
        self.way = torch.full_like(start, math.inf)
        self.distance = torch.full((len(start),), math.inf, dtype=torch.float64)
        self.beyond = own.clone()

    def beside(self, angle: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Lines (l,) and (l d) as long as the best ones, at about an angle to them."""
        b, d = self.start.shape
        best = (self.way / self.size).repeat_interleave(N_BESIDE * d, dim=0)
        aside = torch.randn(best.shape, dtype=torch.float64, generator=generator)
        length = best.norm(dim=1, keepdim=True)
        aside = aside - (aside * best).sum(dim=1, keepdim=True) * best / length**2
        turned = best + math.tan(angle) * length * aside
        return torch.arange(b).repeat_interleave(N_BESIDE * d), turned * length / turned.norm(
            dim=1, keepdim=True
        ) * self.size

    def try_lines(self, row: Tensor, way: Tensor, relative: float, absolute: float = 0.0) -> None:
        """Look along lines (l d) from the starts of rows (l,) for where the label first changes."""
        length = (way / self.size).norm(dim=1)
        low, high = torch.zeros_like(length), torch.ones_like(length)
        beyond = self.own[row].clone()
        going, n, is_hit = torch.ones_like(row, dtype=torch.bool), N_FIRST, torch.zeros_like(row, dtype=torch.bool)
        while going.any():
            i = going.nonzero()[:, 0]
            shares = torch.arange(1, n + 1, dtype=torch.float64) / n
            at = low[i, None] + (high - low)[i, None] * shares
            states = self.start[row[i], None] + at[..., None] * way[i, None]
            label = self._label(states, self.own[row[i], None])
            changed = label != self.own[row[i], None]
            hit = changed.any(dim=1)
            first = changed.long().argmax(dim=1)
            beyond[i[hit]] = label[hit, first[hit]]
            step = (high - low)[i] / n
            high[i[hit]] = (low[i] + step * (first + 1))[hit]
            low[i[hit]] = high[i[hit]] - step[hit]
            is_hit[i] = hit
            # only those go on that can be the nearest of their row, and are not known well enough
            shortest = self.distance.clone()
            shortest.scatter_reduce_(0, row[is_hit], (high * length)[is_hit], "amin")
            wide = (high - low) * length > absolute + relative * length
            going = is_hit & wide & (low * length <= shortest[row]) & (high > low * (1 + 1e-14))
            n = N_NEXT
        for i in is_hit.nonzero()[:, 0].tolist():
            if absolute or float(high[i] * length[i]) < float(self.distance[row[i]]):
                at = (low[i] + high[i]) / 2 if absolute else high[i]
                self.distance[row[i]], self.way[row[i]] = at * length[i], at * way[i]
                self.beyond[row[i]] = beyond[i]

    def _label(self, z: Tensor, own: Tensor) -> Tensor:
        """Labels of states (l n d); one that does not settle counts as on this side."""
        label, _ = settle(self.scene, self.found, z.reshape(-1, z.shape[-1]))
        label = label.reshape(z.shape[:-1])
        return torch.where(label == UNSETTLED, own, label)

"""Attractors of a flow or map: sinks, stable cycles and other sets that are come back to, with their surroundings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.linalg import LinAlgError, solve_continuous_lyapunov, solve_discrete_lyapunov
from torch import Tensor

from tsode.core.status import Status
from tsode.errors import ParameterError, SolverError
from tsode.stability.cycle import limit_cycle
from tsode.stability.fixed_points import eigenvalues, fixed_points, polish
from tsode.stability.flow import FieldFlow, Flow

__all__ = ["DIVERGED", "UNSETTLED", "Attractor", "Scene", "find_attractors", "settle"]

UNSETTLED, DIVERGED = -1, -2
FAR = 1e3  # half-widths of the box from its middle, beyond which a state has left for good
LARGEST, SMALLEST = 0.25, 1e-7  # half-widths of the box, that a neighbourhood of a sink reaches
SHELLS = (1.0, 0.8, 0.6, 0.4, 0.2, 0.1, 0.01)
NEAR = 0.01  # of a cycle's size: closer is at it
IN_A_ROW = 3  # looks at which a state has to be near a cycle or set
N_PROBES, N_POINTS, N_BESIDE = 128, 1500, 16
MOST_VAIN = 3  # states looked at in a row without an attractor
N_TURNS = 500.0  # times in which the box is crossed, that states are followed
N_RELAXATIONS = 30.0
MOST_PERIODS = 64  # of a map


@dataclass(frozen=True, eq=False)
class Scene:
    """Where a flow is looked at.

    Parameters
    ----------
    flow : Flow
    low, high : Tensor[d]
        The box.
    time : float
        In which its states cross it, about.
    duration : float
        Longest time that a state is followed.
    """

    flow: Flow
    low: Tensor
    high: Tensor
    time: float
    duration: float

    @property
    def scale(self) -> Tensor:
        return ((self.high - self.low) / 2).clamp(min=1e-300)

    @property
    def middle(self) -> Tensor:
        return (self.low + self.high) / 2

    def patient(self, attractors: Sequence[Attractor]) -> Scene:
        """The same, with time for the slowest fixed point: thirty times that in which it is e times nearer."""
        longest = self.duration
        for one in attractors:
            if one.kind == "fixed point":
                level = eigenvalues(self.flow, 0.0, one.states)[0]
                slowest = float(-level.abs().log().max() if self.flow.is_map else -level.real.max())
                longest = max(longest, N_RELAXATIONS / slowest)
        return replace(self, duration=longest)

    def looks(self) -> list[float]:
        """Spans between looks at a state, which grow."""
        spans, total, span = [], 0.0, self.time
        while total < self.duration:
            spans += [span, span]
            total += 2 * span
            span *= 2
        return spans


@dataclass(frozen=True, eq=False)
class Attractor:
    """States that others come to.

    Parameters
    ----------
    kind : str
        "fixed point", "cycle" or "set".
    states : Tensor[k d]
    scale : Tensor[d]
    near : float
        Scaled distance at which a state counts as there; of a fixed point the level of `form`.
    form : Tensor[d d], optional
        Of a fixed point the quadratic form of scaled states that falls along the flow inside its level.
    """

    kind: str
    states: Tensor
    scale: Tensor
    near: float
    form: Tensor | None = None

    def holds(self, z: Tensor) -> Tensor:
        """Whether states (b d) are in its surroundings."""
        if self.form is not None:
            apart = (z - self.states[0]) / self.scale
            return torch.einsum("bi,ij,bj->b", apart, self.form, apart) <= self.near
        return torch.cdist(z / self.scale, self.states / self.scale).amin(dim=1) <= self.near


def fixed_attractor(scene: Scene, z: Tensor) -> Attractor | None:
    """A sink (d,) with the ellipsoid about it, from which nothing was seen to leave.

    The form solves Lyapunov's equation of the Jacobian; the ellipsoid is shrunk until the form falls along the flow at
    all of many states on shells in it.
    """
    flow, scale, d = scene.flow, scene.scale, len(z)
    time = torch.zeros(1, dtype=torch.float64)
    jacobian = flow.linearise(time, z[None])[1][0].numpy() * scale.numpy() / scale.numpy()[:, None]
    try:
        if flow.is_map:
            solved = solve_discrete_lyapunov((jacobian + np.eye(d)).T, np.eye(d))
        else:
            solved = solve_continuous_lyapunov(jacobian.T, -np.eye(d))
        form = torch.from_numpy((solved + solved.T) / 2)
        root = torch.linalg.cholesky(form)
    except (LinAlgError, RuntimeError):
        return None
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(64 * d, d, dtype=torch.float64, generator=generator)
    directions = torch.linalg.solve_triangular(
        root.mT, (directions / directions.norm(dim=1, keepdim=True)).mT, upper=True
    )
    shells = torch.cat([share * directions.mT for share in SHELLS])
    radius = LARGEST / float(shells.abs().max())
    while radius * float(shells.abs().max()) >= SMALLEST:
        u = radius * shells
        states = z + u * scale
        slope = flow.slope(torch.zeros(len(u), dtype=torch.float64), states) / scale
        after = torch.einsum("bi,ij,bj->b", u + slope, form, u + slope) if flow.is_map else None
        before = torch.einsum("bi,ij,bj->b", u, form, u)
        falls = after < before if after is not None else torch.einsum("bi,ij,bj->b", u, form, slope) < 0
        if falls.all():
            return Attractor("fixed point", z[None], scale, radius**2, form)
        radius /= 2
    return None


def settle(scene: Scene, attractors: Sequence[Attractor], z: Tensor) -> tuple[Tensor, Tensor]:
    """Number of the attractor (b,) that states (b d) come to, or why to none; and where they are at the end (b d)."""
    label = torch.full((len(z),), UNSETTLED)
    end, streak = z.clone(), torch.zeros(len(z), max(len(attractors), 1), dtype=torch.long)
    active = torch.arange(len(z))
    for span in [0.0, *scene.looks()]:
        if not len(active):
            break
        begin = torch.zeros(len(active), dtype=torch.float64)
        state, status = scene.flow.advance(end[active], begin, begin + span)
        away = ((state - scene.middle) / scene.scale).abs().amax(dim=1)
        grown = (status == int(Status.NON_FINITE)) | (status == int(Status.BLOW_UP))
        is_gone = grown | ~(away <= FAR)
        label[active[is_gone]] = DIVERGED
        is_stuck = (status != 0) & ~is_gone
        end[active] = torch.where((is_gone | is_stuck)[:, None], end[active], state)
        is_done = is_gone | is_stuck
        for i, attractor in enumerate(attractors):
            holds = attractor.holds(end[active]) & ~is_done
            streak[active, i] = torch.where(holds, streak[active, i] + 1, 0)
            there = streak[active, i] >= (1 if attractor.form is not None else IN_A_ROW)
            label[active[there & ~is_done]] = i
            is_done = is_done | there
        active = active[~is_done]
    return label, end


def find_attractors(scene: Scene, random_state: Any) -> list[Attractor]:
    """Sinks from many starts, and what states from all over the box come to beside them."""
    box = torch.stack([scene.low, scene.high], dim=1).tolist()
    try:
        table = fixed_points(scene.flow, box=box, random_state=random_state)
        table = table[table["kind"].str.startswith("sink")]
        points = torch.from_numpy(table[list(scene.flow.names)].to_numpy(dtype=float).copy())
    except ParameterError:
        points = torch.zeros(0, len(scene.low), dtype=torch.float64)
    found = [one for z in points if (one := fixed_attractor(scene, z)) is not None]
    sobol = torch.quasirandom.SobolEngine(len(scene.low), scramble=True, seed=0)
    probes = scene.low + (scene.high - scene.low) * sobol.draw(N_PROBES, dtype=torch.float64)
    return _sorted(find_more(scene, found, probes))


def find_more(scene: Scene, known: Sequence[Attractor], z: Tensor) -> list[Attractor]:
    """Those that are known and what states (b d) come to beside them."""
    found = list(known)
    label, end = settle(scene, found, z)
    end = end[label == UNSETTLED]
    n_vain = 0
    while len(end) and n_vain < MOST_VAIN:
        one = _attractor_at(scene, end[0])
        rest, n_vain = end[1:], n_vain + 1
        same = [i for i, other in enumerate(found) if one is not None and _is_same(one, other)]
        if one is not None and same:  # slow to come there, or not all of it was seen
            found[same[0]] = _joined(found[same[0]], one)
        elif one is not None:
            n_vain = 0
            found.append(one)
            label, after = settle(scene, found, rest)
            rest = after[label == UNSETTLED]
        end = rest
    return found


def _is_same(one: Attractor, other: Attractor) -> bool:
    """Whether most of an attractor lies in the surroundings of another."""
    return one.kind == other.kind and float(other.holds(one.states).double().mean()) > 0.5


def _joined(one: Attractor, other: Attractor) -> Attractor:
    """Both samples of one set."""
    if one.kind != "set":
        return one
    return Attractor("set", torch.cat([one.states, other.states]), one.scale, max(one.near, other.near))


def _attractor_at(scene: Scene, z: Tensor) -> Attractor | None:
    """The attractor at which a state (d,) is after a long time, if it is at one."""
    flow = scene.flow
    zero = torch.zeros(1, dtype=torch.float64)
    root, is_root = polish(flow, zero, z[None])
    if bool(is_root) and float(((root[0] - z) / scene.scale).abs().max()) < 0.1:
        level = eigenvalues(flow, 0.0, root)[0]
        is_sink = (level.abs() < 1).all() if flow.is_map else (level.real < 0).all()
        return fixed_attractor(scene, root[0]) if is_sink else None
    if isinstance(flow, FieldFlow):
        try:
            cycle = limit_cycle(flow.rate, z[None], transient=0.0, n_points=400, names=flow.names)
        except (ParameterError, SolverError):
            return _set_at(scene, z)
        if cycle.attrs["is_stable"]:
            states = torch.from_numpy(cycle[list(flow.names)].to_numpy(dtype=float).copy())
            return _cycle(states, scene.scale)
        return None if cycle.attrs["kind"] == "not isolated" else _set_at(scene, z)
    orbit = flow.path(z[None], torch.arange(MOST_PERIODS + 1, dtype=torch.float64))[0]
    apart = ((orbit[1:] - z) / scene.scale).abs().amax(dim=1)
    returns = (apart < 1e-6).nonzero()[:, 0]
    if len(returns):
        return Attractor("cycle", orbit[: int(returns[0]) + 1], scene.scale, 1e-4)
    return _set_at(scene, z)


def _cycle(states: Tensor, scale: Tensor) -> Attractor:
    size = float(((states.amax(dim=0) - states.amin(dim=0)) / scale).max())
    gaps = float(((states[1:] - states[:-1]) / scale).norm(dim=1).max())
    return Attractor("cycle", states, scale, NEAR * size + gaps / 2)


def _set_at(scene: Scene, z: Tensor) -> Attractor | None:
    """States that an orbit comes back to: what it meets in the second half of a long time it has met in the first."""
    span = round(scene.time) or 1 if scene.flow.is_map else scene.time / 2
    try:
        states = scene.flow.path(z[None], span * torch.arange(2 * N_POINTS + 1, dtype=torch.float64))[0][1:]
    except SolverError:
        return None
    scaled = states / scene.scale
    apart = torch.cdist(scaled[:N_POINTS], scaled[N_POINTS:])
    back, forth = (apart.amin(dim=axis).quantile(0.95) for axis in (0, 1))
    within = torch.cdist(scaled, scaled).fill_diagonal_(torch.inf).amin(dim=1).quantile(0.95)
    size = float((scaled.amax(dim=0) - scaled.amin(dim=0)).max())
    if float(max(back, forth)) > 3 * float(within) + 1e-9 * size or float(within) > 0.2 * size:
        return None
    found = Attractor("set", states, scene.scale, 2 * float(within))
    # states beside it have to come back: where something is kept, they do not
    generator = torch.Generator().manual_seed(0)
    beside = states[:: len(states) // N_BESIDE][:N_BESIDE]
    moved = beside + 4 * found.near * scene.scale * torch.randn(beside.shape, dtype=torch.float64, generator=generator)
    moved = moved[~found.holds(moved)]
    label, _ = settle(scene, [found], moved)
    return found if len(moved) and float((label == 0).double().mean()) >= 0.5 else None


def _sorted(found: list[Attractor]) -> list[Attractor]:
    """Fixed points before cycles before sets, by their coordinates: labels that do not depend on how they were met."""
    kinds = ("fixed point", "cycle", "set")

    def key(one: Attractor) -> tuple[int, list[float]]:
        return kinds.index(one.kind), ((one.states.mean(dim=0) / one.scale) * 1e5).round().tolist()

    return sorted(found, key=key)

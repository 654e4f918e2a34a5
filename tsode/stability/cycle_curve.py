"""Limit cycles of a family of flows as a curve: collocation of periodic orbits, on a mesh that moves along."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch

from tsode.errors import SolverError
from tsode.stability.arclength import Curve, Point, correct
from tsode.stability.family import Family, Scaling

__all__ = ["CycleCurve", "born_cycle", "cycle_start"]

DEGREE = 4  # of the polynomial of each piece
COARSE = 1e-6  # error of the multiplier along the cycle, above which there are to be more pieces
LOST = 0.05  # the same, above which a cycle is not met
STILL = 1e-9  # speed of scaled states, below which there is no cycle yet
MOST_UNKNOWNS = 1600
UNEVEN = 1.5  # ratio of the largest share of the error to the mean, above which the mesh is moved
LEAST = 1e-5  # amplitude of scaled states, below which a cycle has shrunk to a fixed point


class _Basis(NamedTuple):
    """Lagrange polynomials of the equidistant nodes of [0, 1] (j) at the Gauss points (c)."""

    points: np.ndarray
    weights: np.ndarray
    values: np.ndarray
    slopes: np.ndarray
    highest: np.ndarray  # the derivative of order DEGREE, a number for each node


@cache
def _basis() -> _Basis:
    x, w = np.polynomial.legendre.leggauss(DEGREE)
    points = (x + 1) / 2
    values, slopes = lagrange(points)
    leading = [1 / np.prod([(i - j) / DEGREE for j in range(DEGREE + 1) if j != i]) for i in range(DEGREE + 1)]
    return _Basis(points, w / 2, values, slopes, np.array(leading))


def lagrange(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and slopes (c, j) at places in [0, 1] of the polynomials that are 1 at one node and 0 at the others."""
    powers = np.arange(DEGREE + 1)
    nodes = powers / DEGREE
    inverse = np.linalg.inv(nodes[:, None] ** powers)
    slopes = powers * points[:, None] ** np.maximum(powers - 1, 0)
    return (points[:, None] ** powers) @ inverse, slopes @ inverse


def nodes_of(mesh: np.ndarray) -> np.ndarray:
    """Times (n DEGREE) in [0, 1) of the nodes of a mesh (n + 1)."""
    inner = np.arange(DEGREE) / DEGREE
    return (mesh[:-1, None] + np.diff(mesh)[:, None] * inner).ravel()


class CycleCurve(Curve):
    """Closed orbits of a scaled family: the unknowns are states at nodes, ``period / unit`` and the parameter.

    Each piece is a polynomial that satisfies the equations at its Gauss points; the phase is the one closest to that of
    the profile before (Doedel, Keller, Kernevez 1991; Ascher, Mattheij, Russell 1995).

    Parameters
    ----------
    family : Family
        Not scaled.
    scaling : Scaling
    mesh : array[n + 1]
        From 0 to 1.
    before : array[n DEGREE d]
        Profile, scaled, that sets the phase: of a cycle before, or the direction of cycles that are born at a point.
    unit : float
        What periods are counted in.
    most : int, optional
        Pieces there may be: ten times as many by default.
    """

    has_multipliers = True
    end = "hopf"

    def __init__(
        self, family: Family, scaling: Scaling, mesh: np.ndarray, before: np.ndarray, unit: float, t: float = 0.0,
        most: int | None = None,
    ) -> None:  # fmt: skip
        self.family, self.scaling, self.mesh, self.unit, self.t = family, scaling, mesh, unit, t
        self.scaled = family.scaled(scaling)
        self.n, self.d = len(mesh) - 1, len(family.names)
        self.most = max(self.n, min(10 * self.n, MOST_UNKNOWNS // (DEGREE * self.d))) if most is None else most
        self.steps = np.diff(mesh)
        pieces = self._pieces(before)
        basis = _basis()
        slope = np.einsum("cj,njd->ncd", basis.slopes, pieces) / self.steps[:, None, None]
        weighed = slope * basis.weights[None, :, None] * self.steps[:, None, None]
        row = np.einsum("ncd,cj->njd", weighed, basis.values)
        self.phase = np.zeros((self.n * DEGREE, self.d))
        np.add.at(self.phase, self._index(), row)
        self.phase /= float(np.linalg.norm(self.phase)) + 1e-300
        self.offset = float((self.phase * before).sum())
        self.before = before
        shares = np.repeat(self.steps / DEGREE, DEGREE)
        self.weights = np.concatenate([np.repeat(shares, self.d), [1.0, 1.0]])

    def _index(self) -> np.ndarray:
        """Nodes (n, DEGREE + 1) of each piece; the last is the first of the next."""
        first = DEGREE * np.arange(self.n)[:, None]
        index: np.ndarray = (first + np.arange(DEGREE + 1)) % (self.n * DEGREE)
        return index

    def _pieces(self, states: np.ndarray) -> np.ndarray:
        """States (n, DEGREE + 1, d) of each piece, of those at all nodes."""
        pieces: np.ndarray = states[self._index()]
        return pieces

    def split(self, x: np.ndarray) -> tuple[np.ndarray, float, float]:
        """States (n DEGREE, d) at the nodes, period and parameter, all scaled but the period."""
        return x[:-2].reshape(-1, self.d), float(x[-2]) * self.unit, float(x[-1])

    def linearise(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        states, period, q = self.split(x)
        basis, n, d = _basis(), self.n, self.d
        pieces = self._pieces(states)
        inside = np.einsum("cj,njd->ncd", basis.values, pieces).reshape(-1, d)
        field, by_state, by_parameter = self.scaled.linearise(
            self.t, torch.from_numpy(inside), torch.full((len(inside),), q, dtype=torch.float64)
        )
        slope = np.einsum("cj,njd->ncd", basis.slopes, pieces) / self.steps[:, None, None]
        value = np.append((slope.reshape(-1, d) - period * field).ravel(), (self.phase * states).sum() - self.offset)
        rates = by_state.reshape(n, DEGREE, d, d)
        blocks = -period * np.einsum("cj,ncab->ncajb", basis.values, rates)
        blocks += np.einsum("cj,n,ab->ncajb", basis.slopes, 1 / self.steps, np.eye(d))
        left = np.zeros((n * DEGREE * d + 1, n * DEGREE * d + 2))
        rows = np.arange(n * DEGREE * d).reshape(n, DEGREE * d)
        columns = (self._index()[:, :, None] * d + np.arange(d)).reshape(n, -1)
        left[rows[:, :, None], columns[:, None, :]] = blocks.reshape(n, DEGREE * d, -1)
        left[:-1, -2] = -field.ravel() * self.unit
        left[:-1, -1] = -period * by_parameter.ravel()
        left[-1, :-2] = self.phase.ravel()
        return value, left

    def transfer(self, jacobian: np.ndarray) -> np.ndarray:
        """Tangent map (d, d) of a period, from the first node."""
        n, d = self.n, self.d
        rows = np.arange(n * DEGREE * d).reshape(n, DEGREE * d)
        columns = (self._index()[:, :, None] * d + np.arange(d)).reshape(n, -1)
        blocks = jacobian[rows[:, :, None], columns[:, None, :]]
        last = -np.linalg.solve(blocks[:, :, d:], blocks[:, :, :d])[:, -d:]
        whole = np.eye(d)
        for piece in last:
            whole = piece @ whole
        return whole

    def spectrum(self, x: np.ndarray, jacobian: np.ndarray) -> np.ndarray:
        """Multipliers across the cycle: those of the tangent map on what the flow's own direction leaves."""
        whole, speed = self.transfer(jacobian), self._speed(x)
        size = np.linalg.norm(speed)
        if size <= STILL:  # no cycle yet: the pair of a Hopf point is along and beside it
            values = np.linalg.eigvals(whole)
            return np.delete(values, np.abs(values - 1).argmin()).astype(complex)
        across = np.linalg.svd(speed[None] / size)[2][1:]
        return np.linalg.eigvals(across @ whole @ across.T).astype(complex)

    def _speed(self, x: np.ndarray) -> np.ndarray:
        states, _, q = self.split(x)
        at, p = torch.from_numpy(states[:1].copy()), torch.full((1,), q, dtype=torch.float64)
        speed: np.ndarray = self.scaled.linearise(self.t, at, p)[0][0]
        return speed

    def describe(self, point: Point) -> dict[str, Any]:
        states, period, q = self.split(point.x)
        scale = self.scaling.scale
        columns: dict[str, Any] = {"parameter": self.scaling.parameter(q)}
        columns |= dict(zip(self.family.names, scale * states[0]))
        columns["period"] = period
        fine = np.einsum("cj,njd->ncd", lagrange(np.linspace(0.0, 1.0, 17))[0], self._pieces(states)).reshape(
            -1, self.d
        )
        for i, name in enumerate(self.family.names):
            columns[f"min_{name}"], columns[f"max_{name}"] = scale[i] * fine[:, i].min(), scale[i] * fine[:, i].max()
        order = np.abs(point.values).argsort()[::-1]
        columns |= {f"multiplier_{k + 1}": point.values[i] for k, i in enumerate(order)}
        columns["trivial_error"] = self.trivial_error(point.x)
        return columns

    def trivial_error(self, x: np.ndarray) -> float:
        """How far the flow's own direction is from coming back as it was."""
        speed = self._speed(x)
        if np.linalg.norm(speed) <= STILL:
            return math.nan
        turned = self.transfer(self.linearise(x)[1]) @ speed
        return float(np.linalg.norm(turned - speed) / np.linalg.norm(speed))

    def refreshed(self, x: np.ndarray, tangent: np.ndarray) -> tuple[Curve, np.ndarray, np.ndarray]:
        """Phase of this profile, on a mesh that has as much of its error in each piece."""
        states, mesh = self.split(x)[0], self.mesh
        error = self.trivial_error(x)
        if error > LOST:
            raise SolverError("A cycle has become too steep for its pieces: give more, n_intervals=.")
        is_coarse = self.n < self.most and error > COARSE
        if is_coarse or self._is_uneven(states):
            mesh = self._evened(states, min(math.ceil(1.5 * self.n), self.most) if is_coarse else self.n)
        if mesh is self.mesh:
            return CycleCurve(self.family, self.scaling, mesh, states, self.unit, self.t, self.most), x, tangent
        moved = [np.append(self._at(part[:-2].reshape(-1, self.d), mesh).ravel(), part[-2:]) for part in (x, tangent)]
        before = moved[0][:-2].reshape(-1, self.d)
        curve = CycleCurve(self.family, self.scaling, mesh, before, self.unit, self.t, self.most)
        found = correct(curve, moved[0], curve.weights * moved[1])
        if found is None:
            raise SolverError("The mesh of a cycle could not be moved: give more pieces, n_intervals=.")
        return curve, found[0], moved[1]

    def _shares(self, states: np.ndarray) -> np.ndarray:
        """Error of each piece, by the jumps of the highest derivative (Ascher, Mattheij, Russell 1995, 9.1)."""
        top = np.einsum("j,njd->nd", _basis().highest, self._pieces(states)) / self.steps[:, None] ** DEGREE
        gaps = (self.steps + np.roll(self.steps, -1)) / 2
        jumps = np.linalg.norm(np.roll(top, -1, axis=0) - top, axis=1) / gaps
        monitor = ((jumps + np.roll(jumps, 1)) / 2) ** (1 / (DEGREE + 1))
        mean = float((monitor * self.steps).sum())
        shares: np.ndarray = (monitor + 0.1 * mean + 1e-12) * self.steps
        return shares

    def _is_uneven(self, states: np.ndarray) -> bool:
        shares = self._shares(states)
        return bool(shares.max() > UNEVEN * shares.mean())

    def _evened(self, states: np.ndarray, n: int) -> np.ndarray:
        """Mesh of so many pieces, with as much error in each."""
        total = np.append(0.0, np.cumsum(self._shares(states)))
        return np.interp(np.linspace(0.0, total[-1], n + 1), total, self.mesh)

    def _at(self, states: np.ndarray, mesh: np.ndarray) -> np.ndarray:
        """States at the nodes of another mesh."""
        times = nodes_of(mesh)
        piece = np.clip(np.searchsorted(self.mesh, times, side="right") - 1, 0, self.n - 1)
        values = lagrange((times - self.mesh[piece]) / self.steps[piece])[0]
        moved: np.ndarray = np.einsum("tj,tjd->td", values, self._pieces(states)[piece])
        return moved

    def end_within(self, a: Point, b: Point) -> Callable[[np.ndarray], float] | None:
        """Signed amplitude, less the least one, where a cycle shrinks away between two points."""
        first = self.split(a.x)[0]
        first = first - first.mean(axis=0)
        size = np.abs(first).max()
        direction = first / np.linalg.norm(first) ** 2 * size

        def amplitude(x: np.ndarray) -> float:
            states = self.split(x)[0]
            return float(((states - states.mean(axis=0)) * direction).sum()) - LEAST

        return amplitude if size > LEAST and amplitude(b.x) < 0 else None


def cycle_start(
    family: Family, scaling: Scaling, states: Callable[[np.ndarray], np.ndarray], period: float, q: float, n: int,
    t: float = 0.0,
) -> tuple[CycleCurve, np.ndarray] | None:  # fmt: skip
    """Curve and its point from states (k d), in the units of the data, at shares (k,) of a period."""
    even = np.linspace(0.0, 1.0, 50 * n + 1)
    profile = states(even) / scaling.scale
    length = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(profile, axis=0), axis=1)))
    mesh = np.interp(np.linspace(0.0, 1.0, n + 1), (even + length / length[-1]) / 2, even)
    nodes = states(nodes_of(mesh)) / scaling.scale
    curve: Curve = CycleCurve(family, scaling, mesh, nodes, period, t)
    found = correct(curve, np.append(nodes.ravel(), [1.0, q]), np.append(np.zeros(nodes.size + 1), 1.0))
    for _ in range(5):
        if found is None:
            return None
        curve, x, held = curve.refreshed(found[0], np.append(np.zeros(len(found[0]) - 1), 1.0))
        found = correct(curve, x, held)
    assert isinstance(curve, CycleCurve)
    return None if found is None else (curve, found[0])


def born_cycle(
    family: Family, scaling: Scaling, u: np.ndarray, q: float, n: int, t: float = 0.0
) -> tuple[CycleCurve, np.ndarray, np.ndarray]:  # fmt: skip
    """Curve of the cycles that are born at a Hopf point, with that point and the tangent there."""
    at, p = torch.from_numpy(u.copy())[None], torch.full((1,), q, dtype=torch.float64)
    jacobian = family.scaled(scaling).linearise(t, at, p)[1][0]
    values, vectors = np.linalg.eig(jacobian)
    turning = np.flatnonzero(values.imag > 0)
    i = turning[np.abs(values[turning].real).argmin()]
    omega, vector = float(values[i].imag), vectors[:, i]
    mesh = np.linspace(0.0, 1.0, n + 1)
    profile = (vector * np.exp(2j * np.pi * nodes_of(mesh))[:, None]).real
    curve = CycleCurve(family, scaling, mesh, profile, 2 * np.pi / omega, t)
    tangent = np.append(profile.ravel(), [0.0, 0.0])
    x = np.append(np.tile(u, len(profile)), [1.0, q])
    return curve, x, tangent / np.sqrt(curve.weights @ tangent**2)

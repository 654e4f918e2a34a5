"""Curves of solutions of ``F(x) = 0``, one unknown more than equations, followed by pseudo-arclength."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import brentq
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu

from tsode.errors import SolverError

__all__ = ["Curve", "Event", "Point", "Segment", "Visit", "correct", "distance", "point_at", "root", "solve", "trace"]

N_ITERATIONS = 12
SETTLED, CLOSE = 1e-11, 1e-8  # relative steps at which Newton's method ends, and which are good enough where it stalls
COSINE = 0.98  # least one between tangents of neighbours
FASTEST = 4  # iterations after which the next step may be longer
NEUTRAL = 1e-12  # of the largest eigenvalue: what a level may be off by rounding
LARGE = 250  # unknowns, from which on equations are taken for sparse
SHORTEST = 1e-7  # of the longest step
FARTHEST = 1e4  # of the scales


class Curve(ABC):
    """Solutions ``x`` (n + 1) of ``F(x) = 0`` (n), the last unknown of which is the parameter, from 0 to 1.

    Attributes
    ----------
    weights : array[n + 1]
        Of the squares of the unknowns in the arclength.
    has_multipliers : bool
        Whether stability is told by multipliers (moduli beside 1), or by real parts beside 0.
    end : str
        What happens where `end_within` says that it ends.
    """

    weights: np.ndarray
    has_multipliers: bool
    end: ClassVar[str] = ""

    @abstractmethod
    def linearise(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``F`` (n) and its Jacobian (n, n + 1)."""

    @abstractmethod
    def spectrum(self, x: np.ndarray, jacobian: np.ndarray) -> np.ndarray:
        """Eigenvalues or multipliers that tell stability."""

    def refreshed(self, x: np.ndarray, tangent: np.ndarray) -> tuple[Curve, np.ndarray, np.ndarray]:
        """The same curve as it is to be followed from a point on, with that point and its tangent."""
        return self, x, tangent

    @abstractmethod
    def describe(self, point: Point) -> dict[str, Any]:
        """Parameter and solution in the units of the data, by column."""

    def end_within(self, a: Point, b: Point) -> Callable[[np.ndarray], float] | None:
        """What changes its sign where the curve ends between two points, if it does."""
        return None


@dataclass(frozen=True, eq=False)
class Point:
    """A point of a curve.

    Parameters
    ----------
    x, tangent : array[n + 1]
    sign : float
        Of the determinant of the Jacobian bordered by the tangent: it changes at branch points.
    values : array[k], complex
        Eigenvalues or multipliers.
    has_multipliers : bool
    """

    x: np.ndarray
    tangent: np.ndarray
    sign: float
    values: np.ndarray
    has_multipliers: bool

    @cached_property
    def levels(self) -> np.ndarray:
        """Real parts, or moduli less 1, the largest first; above zero is unstable."""
        raw = np.abs(self.values) - 1 if self.has_multipliers else self.values.real
        return np.sort(raw)[::-1]

    @cached_property
    def size(self) -> float:
        """Of the largest eigenvalue; of multipliers at least 1."""
        largest = float(np.abs(self.values).max(initial=0.0))
        return max(largest, 1.0) if self.has_multipliers else max(largest, 1e-300)

    @property
    def n_unstable(self) -> int:
        return int((self.levels > NEUTRAL * self.size).sum())


@dataclass(frozen=True, eq=False)
class Segment:
    """Curve between two neighbours, by the distance along the tangent of the first."""

    curve: Curve
    a: Point
    b: Point

    @property
    def length(self) -> float:
        return float((self.curve.weights * self.a.tangent) @ (self.b.x - self.a.x))

    @property
    def size(self) -> float:
        """Of the largest eigenvalue or multiplier."""
        return max(self.a.size, self.b.size)

    def at(self, s: float) -> Point:
        """Point at a distance.

        Raises
        ------
        SolverError
            If Newton's method does not come to it.
        """
        share = s / self.length
        guess = self.a.x + s * self.a.tangent + share**2 * (self.b.x - self.a.x - self.length * self.a.tangent)
        x = correct(self.curve, guess, self.curve.weights * self.a.tangent)
        if x is None:
            raise SolverError(f"Newton's method does not come to a point of the curve at {guess[-1]:.6g} of the range.")
        return point_at(self.curve, x[0], self.a.tangent)


@dataclass(frozen=True, eq=False)
class Event:
    """What happens at a point.

    Parameters
    ----------
    point : Point
    name : str
    size : float
        Of the largest eigenvalue around, beside which one is zero.
    other : array[n + 1], optional
        Tangent of the branch that crosses there.
    """

    point: Point
    name: str
    size: float
    other: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Visit:
    """A point that was met on the way, with the event there, and how far it is along the curve."""

    curve: Curve
    point: Point
    arclength: float
    event: Event | None = None


def solve(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray | None, float]:
    """Solution of linear equations and the sign of their determinant; None and 0 where they are singular."""
    if len(left) < LARGE:
        sign = float(np.linalg.slogdet(left)[0])
        try:
            return np.linalg.solve(left, right), sign
        except np.linalg.LinAlgError:
            return None, 0.0
    try:
        factors = splu(csc_matrix(left))
    except RuntimeError:
        return None, 0.0
    sign = _parity(factors.perm_r) * _parity(factors.perm_c) * float(np.sign(factors.U.diagonal()).prod())
    return factors.solve(right), sign


def _parity(permutation: np.ndarray) -> float:
    """Sign of a permutation, by its cycles."""
    seen, sign = np.zeros(len(permutation), dtype=bool), 1.0
    for i in range(len(permutation)):
        length, j = 0, i
        while not seen[j]:
            seen[j], j, length = True, permutation[j], length + 1
        sign = -sign if length and length % 2 == 0 else sign
    return sign


def correct(curve: Curve, guess: np.ndarray, border: np.ndarray) -> tuple[np.ndarray, int] | None:
    """Solution in the plane through a guess across `border` by Newton's method, and the iterations that it took."""
    x, size = guess.copy(), np.inf
    for iteration in range(1, N_ITERATIONS + 1):
        value, jacobian = curve.linearise(x)
        left = np.vstack([jacobian, border])
        right = -np.append(value, border @ (x - guess))
        if not (np.isfinite(left).all() and np.isfinite(right).all()):
            return None
        step, _ = solve(left, right)
        if step is None:
            return None
        x = x + step
        before, size = size, float((np.abs(step) / (1 + np.abs(x))).max())
        if size <= SETTLED:
            return x, iteration
        if size > 2 * before and size < CLOSE:  # rounding
            return x, iteration
        if size > 1e3:
            return None
    return (x, N_ITERATIONS) if size <= CLOSE else None


def point_at(curve: Curve, x: np.ndarray, along: np.ndarray) -> Point:
    """Point with its tangent, on the side of `along`, and what tells its stability."""
    _, jacobian = curve.linearise(x)
    left = np.vstack([jacobian, curve.weights * along])
    right = np.append(np.zeros(len(jacobian)), 1.0)
    tangent, _ = solve(left, right)
    if tangent is None:
        raise SolverError(
            "Solutions are not isolated: the Jacobian is singular in all directions. A field that keeps something "
            "(a total, an energy) has a fixed point or cycle at each value of it: write one state by the others. "
            "A start that is itself a branch point is to be moved beside it."
        )
    tangent = tangent / np.sqrt((curve.weights * tangent) @ tangent)
    _, sign = solve(np.vstack([jacobian, curve.weights * tangent]), right)
    return Point(x, tangent, sign, curve.spectrum(x, jacobian), curve.has_multipliers)


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that changes its sign is zero, to the last digits."""
    return float(brentq(function, low, high, xtol=1e-14 * (abs(low) + abs(high)), rtol=1e-14))


def trace(
    curve: Curve, start: Point, events_within: Callable[[Segment], list[Event]], *, max_step: float,
    max_points: int, first_step: float,
) -> tuple[list[Visit], str]:  # fmt: skip
    """Follow a curve along the start's tangent until it leaves the range, and say why it ends.

    Returns
    -------
    visits : list of Visit
        The start first.
    reason : str
        "range", "closed", "end" (of the curve itself), "far", "points" or "step".
    """
    first, home, a, total, step = curve, start, start, 0.0, first_step
    visits = [Visit(curve, start, 0.0)]
    while len(visits) < max_points:
        if curve.weights @ a.x**2 > FARTHEST**2:
            return visits, "far"
        edge = 1.0 if a.tangent[-1] > 0 else 0.0
        if (a.x[-1] - edge) * (1 if edge else -1) >= 0:
            return visits, "range"
        found = _next(curve, a, step, max_step)
        if found is None:
            return visits, "step"
        b, step = found
        try:
            b, reason = _cut(Segment(curve, a, b), home if len(visits) > 3 and curve is first else None)
            events = events_within(Segment(curve, a, b))
            after, x, tangent = curve.refreshed(b.x, b.tangent)
            following = b if x is b.x else point_at(after, x, tangent)
        except (SolverError, ValueError):
            return visits, "step"
        for event in events:
            visits.append(Visit(curve, event.point, total + distance(curve, a.x, event.point.x), event))
        total += distance(curve, a.x, b.x)
        visits.append(Visit(curve, b, total, Event(b, curve.end, b.size) if reason == "end" else None))
        if reason:
            return visits, reason
        curve, a = after, following
    return visits, "points"


def _cut(segment: Segment, home: Point | None) -> tuple[Point, str]:
    """The last point of a segment that is to be kept, and why the curve ends there, if it does."""
    b, test = segment.b, segment.curve.end_within(segment.a, segment.b)
    if home is not None and (near := _home(segment, home)) is not None:
        return near, "closed"
    if not 0.0 <= b.x[-1] <= 1.0:
        return _on_range(segment, 1.0 if b.x[-1] > 1.0 else 0.0), "range"
    if test is not None:
        return segment.at(root(lambda s: test(segment.at(s).x), 0.0, segment.length)), "end"
    return b, ""


def distance(curve: Curve, a: np.ndarray, b: np.ndarray) -> float:
    """Of two points in the measure of the arclength."""
    return float(np.sqrt(curve.weights @ (b - a) ** 2))


def _next(curve: Curve, a: Point, step: float, max_step: float) -> tuple[Point, float] | None:
    """Next point, and the step to try after it."""
    longest = max_step * max(1.0, float(np.sqrt(curve.weights @ a.x**2)))
    step = min(step, longest)
    while step > SHORTEST * max_step:
        found = correct(curve, a.x + step * a.tangent, curve.weights * a.tangent)
        if found is not None:
            try:
                b = point_at(curve, found[0], a.tangent)
            except SolverError:  # just on a branch point
                step *= 0.9
                continue
            if (curve.weights * a.tangent) @ b.tangent >= COSINE:
                return b, step * 1.5 if found[1] <= FASTEST else step
        step /= 2
    return None


def _on_range(segment: Segment, bound: float) -> Point:
    """Where the curve leaves the range."""
    s = root(lambda s: segment.at(s).x[-1] - bound, 0.0, segment.length)
    near = segment.at(s)
    border = np.append(np.zeros(len(near.x) - 1), 1.0)
    guess = near.x.copy()
    guess[-1] = bound
    found = correct(segment.curve, guess, border)
    return near if found is None else point_at(segment.curve, found[0], near.tangent)


def _home(segment: Segment, home: Point) -> Point | None:
    """The start, where a closed curve comes back to it."""
    weighted = segment.curve.weights * segment.a.tangent
    s = float(weighted @ (home.x - segment.a.x))
    if not 0 < s <= segment.length or weighted @ home.tangent < 0:
        return None
    if distance(segment.curve, segment.a.x, home.x) > 2 * segment.length:
        return None
    near = segment.at(s)
    return near if distance(segment.curve, near.x, home.x) <= 1e-6 else None

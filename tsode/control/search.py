"""Search for amounts and times by gradients, from several starts: sequential quadratic programming."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize, nnls
from torch import Tensor

from tsode.control.problem import Candidate, Problem

__all__ = ["Gradients", "best_starts", "descend", "gradients_at", "merit", "polished", "residual_at"]

_MOST_STEPS = 60
_SAME = 0.01  # of the scale of a number: searches as near as this are one
_N_TRIED, _N_STARTS = 32, 3
_N_MARGINS = 3
_PENALTY = 10.0
_HOPELESS = 0.01  # in numbers of order one: what a requirement is still missed by where it cannot be kept
_SPARE = 5e-4  # in numbers of order one: what may be left of a requirement that holds a plan back
_ACTIVE = 1e-5  # in numbers of order one: how near to its limit a requirement is that holds a plan back


@dataclass(frozen=True, eq=False)
class Gradients:
    """Derivatives of a problem at a candidate, by amounts and shifts in units of their scales.

    Parameters
    ----------
    score : array[x]
    excess : array[r]
    rows : array[r x]
        Of the excesses.
    """

    score: np.ndarray
    excess: np.ndarray
    rows: np.ndarray


class _Variables:
    """Numbers ``x`` of a search: amounts of the slots that are used, and shifts of those that may move, over scales."""

    def __init__(self, problem: Problem, is_used: np.ndarray) -> None:
        slots = problem.slots
        self.problem, self.is_used = problem, is_used
        self.used = np.flatnonzero(is_used)
        self.moved = np.flatnonzero(is_used & (slots.shift > 0.0))
        self.scale = np.concatenate([slots.scale()[self.used], slots.shift[self.moved]])
        low, high = slots.low[self.used], slots.high[self.used]
        n = len(self.used)
        back, ahead = (by[self.moved] / slots.shift[self.moved] for by in slots.moves())
        self.low = np.concatenate([low / self.scale[:n], back])
        self.high = np.concatenate([high / self.scale[:n], ahead])
        self._place_a = torch.from_numpy(self.used)
        self._place_s = torch.from_numpy(self.moved)
        self._scale = torch.from_numpy(self.scale)
        rows, ends = slots.limits()
        self.rows = rows[:, self.used] * self.scale[:n]
        self.ends = ends
        size = np.abs(self.rows).max(axis=1, initial=0.0)
        is_real = size > 0.0
        self.rows, self.ends = self.rows[is_real] / size[is_real, None], self.ends[is_real] / size[is_real]
        self.rows = np.pad(self.rows, ((0, 0), (0, len(self.moved))))

    def read(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Amounts (1 k) and shifts (1 k)."""
        n, k = len(self.used), len(self.is_used)
        full = torch.zeros(k, dtype=torch.float64)
        real = x * self._scale
        amounts = full.index_put((self._place_a,), real[:n])[None]
        if not self.problem.slots.shift.any():
            return amounts, None
        return amounts, full.index_put((self._place_s,), real[n:])[None]

    def write(self, candidate: Candidate) -> np.ndarray:
        x = np.concatenate([candidate.amounts[self.used], candidate.shifts[self.moved]]) / self.scale
        return np.clip(x, self.low, self.high)

    def candidate(self, x: np.ndarray) -> Candidate:
        amounts, shifts = self.read(torch.from_numpy(np.clip(x, self.low, self.high)))
        none = np.zeros(len(self.is_used))
        return Candidate(amounts[0].numpy(), none if shifts is None else shifts[0].numpy(), self.is_used)

    def at(self, x: np.ndarray, sharpness: float | None) -> tuple[float, Gradients]:
        """Score, excesses, and their derivatives."""
        leaf = torch.from_numpy(np.array(x, dtype=np.float64)).requires_grad_()
        with torch.enable_grad():
            amounts, shifts = self.read(leaf)
            score, excess = self.problem.smooth(self.problem.response.scene(amounts, shifts), sharpness)
            total = score.sum()
            grads = [torch.autograd.grad(one, leaf, retain_graph=True, allow_unused=True)[0]
                     for one in (total, *excess[0])]  # fmt: skip
        found = [np.zeros(len(x)) if g is None else g.nan_to_num(0.0, 0.0, 0.0).numpy() for g in grads]
        value = float(total.detach().nan_to_num(nan=1e30, posinf=1e30))
        beyond = excess[0].detach().nan_to_num(nan=1e3, posinf=1e3).numpy()
        return value, Gradients(found[0], beyond, np.array(found[1:]).reshape(len(beyond), len(x)))


def best_starts(problem: Problem, is_used: np.ndarray, generator: torch.Generator) -> list[Candidate]:
    """The best of some candidates, of even amounts and taken at random."""
    slots = problem.slots
    k, scale = len(slots), slots.scale()
    even = np.linspace(0.0, 1.0, 9)[:, None] * np.ones(k)
    drawn = torch.rand(_N_TRIED - len(even), k, generator=generator, dtype=torch.float64).numpy()
    base = np.clip(np.zeros(k), slots.low, slots.high)
    toward = np.where(base + scale <= slots.high + 1e-12 * scale, scale, -scale)
    tried = (base + np.concatenate([even, drawn]) * toward) * is_used
    tried = np.clip(tried, np.where(is_used, slots.low, 0.0), np.where(is_used, slots.high, 0.0))
    rows, ends = slots.limits()
    for row, end in zip(rows, ends):  # down to what may be given
        sums = tried @ row
        share = np.where(sums > end, max(end, 0.0) / np.maximum(sums, 1e-300), 1.0)
        tried = np.where(row[None] > 0.0, tried * share[:, None], tried)
    with torch.no_grad():
        scores = []
        for part in torch.from_numpy(tried).split(8):
            moved = torch.zeros_like(part) if slots.shift.any() else None
            score, excess = problem.smooth(problem.response.scene(part, moved), problem.objective.stages[0])
            scores.append(score + _PENALTY * excess.clamp(min=0.0).sum(dim=1))
        worth = torch.cat(scores).nan_to_num(nan=np.inf).numpy()
    chosen = np.argsort(worth, kind="stable")[:_N_STARTS]
    return [Candidate(tried[place], np.zeros(k), is_used) for place in chosen]


def gradients_at(problem: Problem, candidate: Candidate) -> Gradients:
    """Derivatives of the last stage at a candidate."""
    variables = _Variables(problem, candidate.is_used)
    return variables.at(variables.write(candidate), problem.objective.stages[-1])[1]


def descend(problem: Problem, starts: Sequence[Candidate], is_near: bool = False) -> Candidate:
    """Go down from candidates through all stages, or through the last alone from some that are near; the best of ends.

    Searches that come to the same place after a stage go on as one. Where no candidate keeps the requirements, the end
    is where they are missed least.
    """
    ends, found = [], []
    for start in starts:
        candidate = start
        if _smooth_excess(problem, start) > 0.0:
            candidate = _minimise(problem, start, None, only_excess=True)
            if _smooth_excess(problem, candidate) > _HOPELESS:
                ends.append(candidate)
                continue
        found.append(candidate)
    for sharpness in problem.objective.stages[-1:] if is_near else problem.objective.stages:
        found = [_minimise(problem, candidate, sharpness) for candidate in _distinct(problem, found)]
    return min(found + ends, key=partial(merit, problem))


def _distinct(problem: Problem, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates without those that are at the place of one before."""
    kept: list[Candidate] = []
    scale = problem.slots.scale()
    for one in candidates:
        moves = [np.abs(one.shifts - other.shifts).max() / max(problem.slots.shift.max(), 1e-300) for other in kept]
        gaps = [np.abs((one.amounts - other.amounts) / scale).max() for other in kept]
        if not any(gap < _SAME and move < _SAME for gap, move in zip(gaps, moves)):
            kept.append(one)
    return kept


def merit(problem: Problem, candidate: Candidate) -> float:
    """By which ends of searches are compared, whose requirements are met but for what smoothing them leaves."""
    worth = problem.worth(candidate)
    return worth.score + _PENALTY * max(worth.excess, 0.0)


def polished(
    problem: Problem, candidate: Candidate, margins: np.ndarray | None = None
) -> tuple[Candidate, float, np.ndarray]:
    """The end of a search at its sharpest, how far from stationary it is, and the margins that it was found under.

    Margins are moved until requirements that hold the plan back are met as they are reported. They may begin with those
    of a problem near by.
    """
    last = problem.objective.stages[-1]
    tight = problem if margins is None else problem.tightened(margins)
    is_hopeless = _smooth_excess(tight, candidate) > _HOPELESS
    candidate = _minimise(tight, candidate, None if is_hopeless else last, only_excess=is_hopeless)
    if is_hopeless:
        return candidate, residual_at(problem, candidate), np.zeros_like(problem.margins)
    best, of_best = candidate, tight
    for _ in range(_N_MARGINS if problem.requirements else 0):
        gap = _exact_excess(problem, candidate)
        variables = _Variables(problem, candidate.is_used)
        there = _Variables(tight, candidate.is_used).at(variables.write(candidate), last)[1]
        more = np.where((there.excess > -_ACTIVE) | (gap > 0.0), gap, 0.0)
        if ((more > -_SPARE) & (more < 1e-6)).all():
            break
        tight = tight.tightened(more + np.where(more > 0.0, 1e-4, 0.0))
        candidate = _minimise(tight, candidate, last)
        if problem.worth(candidate).is_better(problem.worth(best)):
            best, of_best = candidate, tight
    residual = residual_at(of_best, best)
    if (_exact_excess(problem, best) > 1e-9).any():
        near = _minimise(tight, best, None, only_excess=True)
        best = near if problem.worth(near).is_better(problem.worth(best)) else best
    return best, residual, of_best.margins - problem.margins


def residual_at(problem: Problem, candidate: Candidate) -> float:
    """Of the conditions of first order: what is left of the derivatives when forces of active limits are taken off."""
    variables = _Variables(problem, candidate.is_used)
    x = variables.write(candidate)
    _, found = variables.at(x, problem.objective.stages[-1])
    eye = np.eye(len(x))
    forces = [-eye[x <= variables.low + _ACTIVE], eye[x >= variables.high - _ACTIVE]]
    forces.append(variables.rows[variables.rows @ x >= variables.ends - _ACTIVE])
    forces.append(found.rows[found.excess >= -_ACTIVE])
    pushes = np.concatenate(forces)
    rest = nnls(pushes.T, -found.score)[1] if len(pushes) else np.linalg.norm(found.score)
    return float(rest)


@torch.no_grad()
def _smooth_excess(problem: Problem, candidate: Candidate) -> float:
    if not problem.requirements:
        return 0.0
    moved = torch.from_numpy(candidate.shifts)[None] if problem.slots.shift.any() else None
    scene = problem.response.scene(torch.from_numpy(candidate.amounts)[None], moved)
    return float(problem.smooth(scene, problem.objective.stages[0])[1].max())


@torch.no_grad()
def _exact_excess(problem: Problem, candidate: Candidate) -> np.ndarray:
    moved = torch.from_numpy(candidate.shifts)[None] if problem.slots.shift.any() else None
    return problem.excesses(problem.response.scene(torch.from_numpy(candidate.amounts)[None], moved))[0]


def _minimise(problem: Problem, start: Candidate, sharpness: float | None, only_excess: bool = False) -> Candidate:
    """One stage: the score under the requirements, or what these are missed by."""
    variables = _Variables(problem, start.is_used)
    x0 = variables.write(start)
    if not len(x0):
        return start
    kept: dict[bytes, tuple[float, Gradients]] = {}

    def at(x: np.ndarray) -> tuple[float, Gradients]:
        key = x.tobytes()
        if key not in kept:
            if len(kept) > 4:
                kept.clear()
            kept[key] = variables.at(x, sharpness)
        return kept[key]

    value, there = at(x0)
    size = max(abs(value), float(np.abs(there.score).max(initial=0.0)), 1e-300)
    size = 1.0 if size >= 1e30 else size

    def score(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, found = at(x)
        if only_excess:
            over = np.maximum(found.excess, 0.0)
            return float(over @ over), 2.0 * over @ found.rows
        return value / size, found.score / size

    limits: list[dict[str, Any]] = []
    if len(variables.ends):
        limits.append(_limit(lambda x: variables.ends - variables.rows @ x, lambda x: -variables.rows))
    if problem.requirements and not only_excess:
        limits.append(_limit(lambda x: -at(x)[1].excess, lambda x: -at(x)[1].rows))
    bounds = list(zip(variables.low, variables.high))
    if limits:
        found = minimize(
            score, x0, jac=True, bounds=bounds, constraints=limits, method="SLSQP",
            options={"maxiter": _MOST_STEPS, "ftol": 1e-8 if problem.requirements else 1e-13},
        )  # fmt: skip
    else:
        found = minimize(
            score, x0, jac=True, bounds=bounds, method="L-BFGS-B",
            options={"maxiter": 10 * _MOST_STEPS, "ftol": 1e-15, "gtol": 1e-11, "maxcor": 30},
        )  # fmt: skip
    if not np.isfinite(found.x).all():
        return start
    return variables.candidate(found.x)


def _limit(function: Callable[[np.ndarray], np.ndarray], slope: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
    return {"type": "ineq", "fun": function, "jac": slope}

"""Choice of the slots that a plan uses, where not all of them may be used together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tsode.control.problem import Candidate, Problem
from tsode.control.search import merit
from tsode.control.slots import Slots

__all__ = ["choose_slots", "is_choice_free"]

_ROUNDS = 10

Descend = Callable[..., Candidate]


def is_choice_free(slots: Slots) -> bool:
    """Whether all slots may be used together."""
    return not slots.clashes().any() and not any(own.sum() > most for own, most in slots.n_most())


def choose_slots(problem: Problem, found: Candidate, descend: Descend) -> Candidate:
    """A candidate whose slots may be used together, from one that uses all.

    The slots with the largest amounts are taken first, those that may not stand beside them are left out, and their
    amounts go to the nearest that is taken. Then one dose after the other is tried at every other slot, as long as that
    makes the plan better.
    """
    slots = problem.slots
    is_used = _largest(slots, np.abs(found.amounts))
    amounts = np.where(is_used, found.amounts, 0.0)
    for k in np.flatnonzero(~is_used & (found.amounts != 0.0)):
        near = np.flatnonzero(is_used & (slots.of == slots.of[k]))
        if len(near):
            to = near[np.abs(slots.times[near] - slots.times[k]).argmin()]
            amounts[to] = min(amounts[to] + found.amounts[k], slots.high[to])
    shifts = np.where(is_used, found.shifts, 0.0)
    best = descend([Candidate(amounts, shifts, is_used)])
    worth = merit(problem, best)
    for _ in range(_ROUNDS):
        others = _moved(slots, best)
        if not others:
            break
        shifted = np.stack([one.shifts for one in others]) if slots.shift.any() else None
        worths = problem.worths(np.stack([one.amounts for one in others]), shifted)
        order = sorted(range(len(worths)), key=lambda j: worths[j].score + 10.0 * worths[j].excess)
        improved = False
        for place in order[:2]:
            tried = descend([others[place]], is_near=True)
            if merit(problem, tried) < worth:
                best, worth, improved = tried, merit(problem, tried), True
                break
        if not improved:
            break
    return best


def _largest(slots: Slots, size: np.ndarray) -> np.ndarray:
    clash, most = slots.clashes(), slots.n_most()
    is_used = np.ones(len(slots), dtype=bool)
    is_limited: np.ndarray = np.asarray(clash.any(axis=1))
    for own, _ in most:
        is_limited |= own
    is_used[is_limited] = False
    for k in np.argsort(-size, kind="stable"):
        if is_limited[k] and is_free(k, is_used, clash, most):
            is_used[k] = True
    return is_used


def is_free(k: Any, is_used: np.ndarray, clash: np.ndarray, most: list[tuple[np.ndarray, int]]) -> bool:
    """Whether a slot may be used beside those that are."""
    return not (clash[k] & is_used).any() and all(not own[k] or (own & is_used).sum() < n for own, n in most)


def _moved(slots: Slots, candidate: Candidate) -> list[Candidate]:
    """Candidates in which one dose stands at another slot of its action."""
    clash, most = slots.clashes(), slots.n_most()
    found = []
    for k in np.flatnonzero(candidate.is_used & slots.is_dose):
        without = candidate.is_used.copy()
        without[k] = False
        for to in np.flatnonzero(~candidate.is_used & (slots.of == slots.of[k])):
            if is_free(to, without, clash, most):
                is_used, amounts, shifts = without.copy(), candidate.amounts.copy(), candidate.shifts.copy()
                is_used[to] = True
                amounts[to], amounts[k], shifts[k] = np.clip(amounts[k], slots.low[to], slots.high[to]), 0.0, 0.0
                found.append(replace(candidate, amounts=amounts, shifts=shifts, is_used=is_used))
    return found

"""Search without gradients of its own: by superposition about a candidate, within a region that is trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from tsode.control.problem import Candidate, Problem
from tsode.control.response import linearised
from tsode.control.search import descend, merit

__all__ = ["descend_by_differences", "linearised_at"]

_STEP = 0.02  # of the scale of an amount: of differences
_ROUNDS, _REGION = 6, 0.3


def linearised_at(problem: Problem, candidate: Candidate, region: float) -> Problem:
    """The same problem with paths that are affine in the amounts, held within a region (of scales) of a candidate."""
    slots, at = problem.slots, candidate.amounts
    scale = slots.scale()
    step = np.where(at + _STEP * scale <= slots.high, _STEP, -_STEP) * scale
    near = linearised(problem.response, torch.from_numpy(at), torch.from_numpy(step))
    low, high = (np.clip(at + sign * region * scale, slots.low, slots.high) for sign in (-1.0, 1.0))
    return replace(problem.by(near), slots=replace(slots, low=low, high=high))


def descend_by_differences(problem: Problem, starts: Sequence[Candidate], is_near: bool = False) -> Candidate:
    """As `descend`, where paths have no gradients or dear ones and are not affine in the amounts: the best of all ends.

    In each round paths are linearised by differences of paths with the same random numbers, and the search is held
    within a region, which shrinks where that promised too much.
    """
    return min((_descend(problem, start, is_near) for start in starts), key=partial(merit, problem))


def _descend(problem: Problem, start: Candidate, is_near: bool) -> Candidate:
    slots, region = problem.slots, _REGION
    scale, candidate = slots.scale(), start
    best = merit(problem, candidate)
    for k in range(_ROUNDS):
        at = candidate.amounts
        local = linearised_at(problem, candidate, region)
        found = descend(local, [candidate], is_near or k > 0)
        worth = merit(problem, found)
        gone = np.abs(found.amounts - at).max() / scale.max()
        if worth < best:
            candidate, best = found, worth
            if gone < 1e-4:
                break
        else:
            region /= 3.0
            if region < 0.01:
                break
    return candidate

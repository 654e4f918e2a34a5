"""Rounding of a plan to the amounts that there are: a local search on the draws themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tsode.control.problem import Candidate, Problem

__all__ = ["rounded"]

_ROUNDS = 50
_MOST_TRIED = 400


def rounded(problem: Problem, found: Candidate) -> Candidate:
    """A candidate of available amounts near the one found, that no change of one or two amounts makes better.

    Every change by one or two levels, and every pair of one level up and another down, is tried on the same draws, and
    the best is kept, until none is better. Slots all of whose amounts are available stay as they are.
    """
    slots = problem.slots
    chosen = [k for k, levels in enumerate(slots.levels) if levels is not None and found.is_used[k]]
    if not chosen:
        return found
    places = np.zeros(len(slots), dtype=int)
    amounts = found.amounts.copy()
    for k in chosen:
        levels = slots.levels[k]
        assert levels is not None
        places[k] = int(np.abs(levels - amounts[k]).argmin())
        amounts[k] = levels[places[k]]
    best = problem.worth(replace(found, amounts=amounts))
    moves = _moves(chosen)
    for _ in range(_ROUNDS):
        tried, kept = [], []
        for move in moves:
            there = places.copy()
            for k, by in move:
                there[k] += by
            if all(0 <= there[k] < len(slots.levels[k]) for k, _ in move):  # type: ignore[arg-type]
                of_move = amounts.copy()
                for k, _ in move:
                    of_move[k] = slots.levels[k][there[k]]  # type: ignore[index]
                tried.append(of_move)
                kept.append(there)
        if not tried:
            break
        stacked = np.stack(tried)
        shifts = np.tile(found.shifts, (len(stacked), 1)) if slots.shift.any() else None
        worths = problem.worths(stacked, shifts)
        place = min(range(len(worths)), key=lambda j: (worths[j].excess, worths[j].score))
        if not worths[place].is_better(best):
            break
        best, places, amounts = worths[place], kept[place], stacked[place]
    return replace(found, amounts=amounts)


def _moves(chosen: list[int]) -> list[list[tuple[int, int]]]:
    moves = [[(k, by)] for k in chosen for by in (1, -1, 2, -2)]
    moves += [[(i, 1), (j, -1)] for i in chosen for j in chosen if i != j]
    return moves[:_MOST_TRIED]

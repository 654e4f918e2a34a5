"""Solves of many rows in rounds, so that the few which need many steps do not hold up the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from tsode.core.status import Status
from tsode.numerics.dopri5 import Dopri5
from tsode.numerics.scheduled_events import ScheduledSolution

__all__ = ["solve_in_rounds"]

_FEW_STEPS, _MORE = 150, 10  # steps of the first round, and how many times as many the next one has


def solve_in_rounds(
    solve: Callable[[Tensor, Dopri5], ScheduledSolution], n_rows: int, solver: Dopri5
) -> tuple[Tensor, Tensor]:
    """States (r m d) and status (r,) of all rows: those that few steps do not carry through begin anew with more.

    In a batch every row is computed as long as any is on its way. Far out in a prior some rows are stiff; they would
    cost what all rows cost together. A row's answer does not depend on its round.

    Parameters
    ----------
    solve : callable
        Solves the rows (k,) it is given.
    """
    left = torch.arange(n_rows)
    n_steps = min(_FEW_STEPS, solver.max_steps)
    found = solve(left, replace(solver, max_steps=n_steps))
    z, status = found.z, found.status
    while n_steps < solver.max_steps:
        # after a stop a row that had too few steps may have failed by what is left of it
        left = left[found.status != Status.OK]
        if not len(left):
            break
        n_steps = min(_MORE * n_steps, solver.max_steps)
        found = solve(left, replace(solver, max_steps=n_steps))
        z, status = z.index_copy(0, left, found.z), status.index_copy(0, left, found.status)
    return z, status

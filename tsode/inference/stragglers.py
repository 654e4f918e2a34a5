"""Solves of many rows in rounds, so that the few which need many steps do not hold up the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import torch
from torch import Tensor

from tsode.core.status import Status
from tsode.numerics.base import Solver
from tsode.numerics.dopri5 import Dopri5
from tsode.numerics.rodas4 import Rodas4
from tsode.numerics.scheduled_events import ScheduledSolution

__all__ = ["solve_in_rounds"]

_FEW_STEPS, _MORE = 150, 10  # steps of the first round, and how many times as many the next one has


def solve_in_rounds(
    solve: Callable[[Tensor, Solver], ScheduledSolution], n_rows: int, solver: Dopri5, shuns_stiff: bool = False
) -> tuple[Tensor, Tensor]:
    """States (r m d) and status (r,) of all rows: those that few steps do not carry through begin anew.

    In a batch every row is computed as long as any is on its way. Far out in a prior some rows are stiff; they would
    cost what all rows cost together, and get an implicit method of the same tolerances. The others get more steps. A
    row's answer does not depend on the rows beside it.

    Parameters
    ----------
    solve : callable
        Solves the rows (k,) it is given.
    shuns_stiff : bool
        Leave stiff rows as they are.
    """
    n_steps = min(_FEW_STEPS, solver.max_steps)
    found = solve(torch.arange(n_rows), replace(solver, max_steps=n_steps))
    z, status = found.z, found.status
    stiff = (status == Status.STIFF).nonzero().squeeze(1)
    # after a stop a row that had too few steps may have failed by what is left of it
    left = ((status != Status.OK) & (status != Status.STIFF)).nonzero().squeeze(1)
    if len(stiff) and not shuns_stiff:
        found = solve(stiff, Rodas4(**{field.name: getattr(solver, field.name) for field in fields(solver)}))
        z, status = z.index_copy(0, stiff, found.z), status.index_copy(0, stiff, found.status)
    while n_steps < solver.max_steps and len(left):
        n_steps = min(_MORE * n_steps, solver.max_steps)
        found = solve(left, replace(solver, max_steps=n_steps))
        z, status = z.index_copy(0, left, found.z), status.index_copy(0, left, found.status)
        left = left[found.status != Status.OK]
    return z, status

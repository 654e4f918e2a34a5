"""Solves of many rows of a known system, each with its own parameters, start, times and events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from tsode.core.scheduled_events import EventKind, ScheduledEvents
from tsode.inference.along_time import AlongTime
from tsode.inference.known_paths import Stages
from tsode.inference.known_system import KnownSystem
from tsode.inference.parameters import Parameters
from tsode.inference.stragglers import solve_in_rounds
from tsode.numerics.adaptive import AdaptiveSolver
from tsode.numerics.base import Solver, VectorField
from tsode.numerics.dopri5 import Dopri5
from tsode.numerics.scheduled_events import ScheduledSolution, solve_scheduled
from tsode.numerics.staged_field import StagedField

__all__ = ["solve_rows", "starting_by"]

_SIZE_ADDED = (EventKind.ADD, EventKind.SET, EventKind.RESET_ADD)


def starting_by(solver: Solver, first_step: Tensor) -> Solver:
    """The solver with a first step for each row (r,), unless it has one."""
    if isinstance(solver, AdaptiveSolver) and solver.first_step is None:
        return replace(solver, first_step=first_step)
    return solver


def solve_rows(
    system: KnownSystem, values: Mapping[str, Tensor], start: Tensor, t0: Tensor, times: Tensor, side: str | Tensor,
    events: ScheduledEvents, size: Tensor, solver: Solver, shuns_stiff: bool = False,
    known_along: Callable[[Tensor | slice], AlongTime] = lambda at: lambda t: {},
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """States (r m d) and status (r,) of each row; it is solved in units of the `size` of its states.

    Parameters
    ----------
    system : KnownSystem
    values : mapping of str to Tensor[r]
    start, size : Tensor[r d]
    t0 : Tensor[r]
    times : Tensor[r m]
    side : {"before", "after"} or Tensor[r m]
    events : ScheduledEvents
    solver : Solver
    shuns_stiff : bool
        Leave rows as they are that `Dopri5` finds stiff.
    known_along : callable
        Of rows: their inputs, as a function of the time of each.
    """
    is_sized = torch.isin(events.kind, torch.tensor([int(kind) for kind in _SIZE_ADDED]))
    amount = torch.where(is_sized, events.amount / size.gather(1, events.target), events.amount)
    events = replace(events, amount=amount)

    def solve(at: Tensor | slice, solver: Solver) -> ScheduledSolution:
        own, unit = Parameters({name: value[at] for name, value in values.items()}), size[at]
        known_at = known_along(at)

        def own_at(t: Tensor) -> Parameters:
            return own.beside(known_at(t))

        def field_by(along: AlongTime) -> VectorField:
            return lambda t, z: system.derivatives(t, z * unit, own.beside(along(t))) / unit

        field = field_by(known_at)
        if isinstance(known_at, Stages):
            stages = known_at
            field = StagedField(lambda t: field_by(stages.during(t)))
        if isinstance(solver, AdaptiveSolver) and isinstance(solver.first_step, Tensor):
            solver = replace(solver, first_step=solver.first_step[at])
        return solve_scheduled(
            field, start[at] / unit, t0[at], times[at],
            ScheduledEvents(**{name: value[at] for name, value in vars(events).items()}), solver,
            side if isinstance(side, str) else side[at], triggers=system.triggers_at(own_at, unit),
        )  # fmt: skip

    if isinstance(solver, Dopri5):
        z, status = solve_in_rounds(solve, len(t0), solver, shuns_stiff)
    else:
        whole = solve(slice(None), solver)
        z, status = whole.z, whole.status
    return z * size[:, None], status

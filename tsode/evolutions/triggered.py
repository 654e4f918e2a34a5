"""Evolution with jumps that the state itself sets off."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tsode.evolutions.base import DrivenEvolution, Evolved, StateField
from tsode.numerics.base import Solver
from tsode.numerics.crossings import integrate_triggers
from tsode.numerics.driven import driven
from tsode.numerics.surfaces import Trigger

__all__ = ["Triggered"]


class Triggered(DrivenEvolution):
    """Evolution of a vector field through the surfaces of some events, and the jumps there.

    Parameters
    ----------
    dynamics : nn.Module
        Right-hand side: a member of `tsode.dynamics`.
    solver : Solver
        A solver that goes step by step, such as `RK4` or `Dopri5`.
    events : sequence of Trigger
        Those whose surface or reset is an `nn.Module` are trained along.
    gradient : {"backprop", "checkpoint"}
        See `tsode.numerics.integrate.integrate`.
    query_step : float
        See `tsode.evolutions.base.Solved`.
    max_events : int
        Events of a row in one interval before it ends with `Status.ZENO`. A hundred, because a surface that is still
        being learned may set off its own reset again and again, which should not hold up the training. A row whose
        reset holds it on a surface against the field ends with `Status.CONTACT`.
    """

    def __init__(
        self,
        dynamics: StateField,
        solver: Solver,
        events: Sequence[Trigger],
        gradient: str = "backprop",
        query_step: float = 0.25,
        max_events: int = 100,
    ) -> None:
        super().__init__()
        self.dynamics = dynamics
        self.solver = solver
        self.events = tuple(events)
        # so that the optimiser, `to` and `state_dict` see them
        self.event_modules = nn.ModuleList(
            part for event in self.events for part in (event.surface, event.reset) if isinstance(part, nn.Module)
        )
        self.gradient = gradient
        self.query_step = query_step
        self.max_events = max_events
        self.n_state = dynamics.n_state

    def evolve(self, z: Tensor, t0: Tensor, t1: Tensor, drive: Tensor | None = None) -> Evolved:
        field = self.dynamics if drive is None else driven(self.dynamics, drive)
        crossings = integrate_triggers(
            field, z, t0, t1, self.solver, self.events, gradient=self.gradient, max_events=self.max_events
        )
        return Evolved(crossings.z, crossings.z.new_zeros(len(z)), crossings.status)

    def evolve_to(self, z: Tensor, t0: Tensor, times: Tensor, drive: Tensor | None = None) -> Evolved:
        field = self.dynamics if drive is None else driven(self.dynamics, drive)
        end = torch.cat([t0[:, None], times], dim=1).amax(dim=1)
        crossings = integrate_triggers(
            field, z, t0, end, self.solver, self.events, times=times, side="right", gradient=self.gradient,
            query_step=self.query_step, max_events=self.max_events,
        )  # fmt: skip
        return Evolved(crossings.states, crossings.states.new_zeros(times.shape), crossings.status)

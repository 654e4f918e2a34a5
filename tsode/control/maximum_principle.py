"""Maximum principle of a plan: the costate of every draw, and the Hamiltonian along its path."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode.control.plan_result import Plan
from tsode.control.scene import Scene
from tsode.control.system_response import SystemResponse
from tsode.core.scheduled_events import EventKind, ScheduledEvents
from tsode.errors import ParameterError
from tsode.inference.known_density import KnownDensity
from tsode.inference.parameters import Parameters

__all__ = ["costate", "hamiltonian"]


def costate(plan: Plan, times: Any) -> np.ndarray:
    """Derivative of each draw's part of the objective by its state at some times, along the plan.

    ``lambda(t) = d score / d z(t)``, times the number of draws: found by automatic differentiation, as what a push of
    the state would add. It obeys ``lambda' = -(df/dz)^T lambda`` between the times at which the objective looks at the
    path, and jumps there by its derivative (Pontryagin; E, Han & Li 2018, eq. 3, with the opposite sign). At such a
    time it is that just after. Of a dose, ``lambda`` of its state is the derivative by its amount.

    Parameters
    ----------
    plan : Plan
        Of a `KnownODEForecaster`.
    times : list of times
        Within the plan, as users write them.

    Returns
    -------
    array[s m d]
        In the order of the system's states.

    Raises
    ------
    ParameterError
        If the forecaster has no states that obey an equation.

    References
    ----------
    W. E, J. Han and Q. Li, A mean-field optimal control formulation of deep learning, arXiv:1807.01083 (2018).

    Examples
    --------
    >>> import pandas as pd
    >>> from tsode import KnownODEForecaster
    >>> from tsode.control import Doses, Tracking, plan
    >>> from tsode.control.maximum_principle import costate
    >>> from tsode.systems import one_compartment_iv
    >>> levels = pd.DataFrame({"ds": [2.0, 8.0], "concentration": [7.5, 4.0]})
    >>> given = pd.DataFrame({"ds": [0.0], "amount": [90.0]})
    >>> body = one_compartment_iv(spread=0.3).with_(parameters={"sd": 0.2, "cv": 0.1})
    >>> model = KnownODEForecaster(system=body, random_state=0).fit(levels, events=given)
    >>> doses = Doses([9.0], high=100.0)
    >>> found = plan(model, Tracking({"concentration": 6.0}), actions=doses, events=given, times=16.0, random_state=0)
    >>> derivative = costate(found, [9.0]).mean()  # by the dose, which is the best
    >>> bool(abs(derivative) < 1e-6)
    True
    """
    return _along(plan, times)[0]


def hamiltonian(plan: Plan, times: Any) -> np.ndarray:
    """Hamiltonian ``lambda . f(t, z, u)`` of each draw along the plan, just after each time: array[s m].

    Where rates do not depend on time it is constant along the best continuous input, between the times at which the
    objective looks at the path (Pontryagin): give the cost as a state that grows at its rate, and as objective that
    state at the end. Parameters and errors are those of `costate`.

    Examples
    --------
    ``np.ptp(hamiltonian(plan, times), axis=1)`` is how far it is from constant in each draw.
    """
    return _along(plan, times)[1]


def _along(plan: Plan, times: Any) -> tuple[np.ndarray, np.ndarray]:
    problem, candidate = plan._problem, plan._candidate
    if problem is None or not isinstance(problem.response, SystemResponse):
        raise ParameterError("The maximum principle is about a system's states: plan with a KnownODEForecaster.")
    response, slots = problem.response, problem.slots
    asked = np.atleast_1d(np.asarray(times, dtype=object))
    t = torch.tensor([response.clock.to_model(time) for time in asked], dtype=torch.float64)
    amounts = torch.from_numpy(candidate.amounts)[None]
    shifts = torch.from_numpy(candidate.shifts)[None] if slots.shift.any() else None
    s, m, d = response.n_draws, len(t), len(response.density.system.states)
    push = torch.zeros(s, m, d, dtype=torch.float64, requires_grad=True)
    with isolated(), torch.enable_grad():
        told, way = response.solve(amounts, shifts, forced=_pushes(t, push))
        paths = response.seen(told, way.states, response.clock.times).transpose(0, 1)
        scene = Scene(paths, response.names, response.clock, amounts)
        score = problem.objective.score(scene, problem.objective.stages[-1]).sum()
        slope = torch.autograd.grad(score, push)[0] * s
    with isolated(), torch.no_grad():
        told, way = response.solve(amounts, shifts, t, "after")
        rates = _rates(response, told, t, way.states[:, 0])
    return slope.numpy(), (slope * rates).sum(dim=-1).numpy()


def _pushes(t: Tensor, push: Tensor) -> ScheduledEvents:
    """What is added (s m d) to states at times (m,), as events of every draw."""
    s, m, d = push.shape
    order = t.argsort(stable=True)
    time = t[order].repeat_interleave(d).expand(s, -1)
    none = torch.zeros(s, m * d, dtype=torch.float64)
    whole = none.long()
    target = torch.arange(d).repeat(m).expand(s, -1)
    kind = torch.full_like(whole, int(EventKind.ADD))
    return ScheduledEvents(time, kind, target, push[:, order].flatten(1), none, none, whole, none, whole.bool())


def _rates(response: SystemResponse, told: KnownDensity, t: Tensor, states: Tensor) -> Tensor:
    """Right-hand side (s m d) at states (s m d) just after times (m,), with what flows in."""
    s, m, d = states.shape
    rows = {name: value.transpose(0, 1).reshape(-1) for name, value in response.values(1).items()}
    p = Parameters(rows, lambda value: value.repeat_interleave(m))
    series, when = torch.zeros(s * m, dtype=torch.int64), t.repeat(s)
    p = p.beside(told.known_along(series, p)(when))
    rates = told.system.derivatives(when, states.flatten(0, 1), p).reshape(s, m, d)
    events = told.events_at(rows)
    is_input = (events.kind == EventKind.ADD) & (events.duration > 0) & events.duration.isfinite()
    per_time = torch.where(is_input, events.amount / events.duration.clamp(min=1e-300), 0.0)
    is_on = (events.time[:, None] <= t[:, None]) & (t[:, None] < (events.time + events.duration)[:, None])  # (s m k)
    flows = (is_on * per_time[:, None])[..., None] * torch.nn.functional.one_hot(events.target, d)[:, None]
    return rates + flows.sum(dim=2)

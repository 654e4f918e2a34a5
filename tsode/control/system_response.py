"""Response of a known system: its posterior's draws, solved under the doses and inputs of each candidate."""

from __future__ import annotations

from collections.abc import Hashable
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsode.control.actions import Input
from tsode.control.response import Response, reference
from tsode.control.scene import Clock
from tsode.control.slots import Slots
from tsode.core.scheduled_events import EventKind, ScheduledEvents
from tsode.core.status import Status
from tsode.errors import ParameterError, SolverError, UnreadActionError
from tsode.estimators.known_ode.schedules import scheduled
from tsode.frames.inputs import DosingInputs
from tsode.inference.dosing import no_events
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_laws import Trajectories
from tsode.inference.known_paths import KnownPaths
from tsode.inference.noise.base import Between
from tsode.inference.parameters import Parameters

__all__ = ["SystemResponse", "steered_columns"]

MOST_NUMBERS = 2**23  # of states that are solved for at once, where no gradient is asked for


class SystemResponse(Response):
    """Solution curves of draws of the parameters and individual effects, with gradients by amounts and times.

    Parameters
    ----------
    density : KnownDensity
        Of one series, with the events that are given.
    u : Tensor[1 s p]
        Draws.
    slots : Slots
    inputs : DosingInputs or None
        Doses of the slots as the forecaster reads them, each of amount 1.
    clock : Clock
    steered : sequence of (label, bool)
        Columns that the inputs of the slots are of, and whether the forecaster holds each from time to time.
    """

    is_differentiable = True

    def __init__(
        self, density: KnownDensity, u: Tensor, slots: Slots, inputs: DosingInputs | None, clock: Clock,
        steered: dict[Hashable, bool],
    ) -> None:  # fmt: skip
        system = density.system
        for channel, noise in system.observed.items():
            if isinstance(noise.of, Between):
                raise ParameterError(
                    f"Channel {channel!r} is of what happens between two times, which a plan cannot be about: plan for "
                    "a channel that is a function of the state."
                )
        self.density, self.slots, self.clock, self._steered = density, slots, clock, steered
        self.names = [*system.observed, *(name for name in system.states if name not in system.observed)]
        with torch.no_grad():
            point = density.space.unpack(u)
        self._values = {name: value.detach() for name, value in point.values.items()}
        self.n_draws = u.shape[1]
        self._planned = _events_of(inputs, slots)
        self._find_sizes()

    def _find_sizes(self) -> None:
        """Take the size of states from the paths under doses, which histories may know nothing of."""
        at, step = reference(self.slots)
        with torch.no_grad():
            both = torch.stack([at, at + step])
            _, way = self.solve(both)
        largest = way.states.abs().amax(dim=(1, 2))  # (s d)
        is_solved = (way.status == Status.OK).all(dim=1)
        if not bool(is_solved.any()):
            raise SolverError(
                "No draw of the parameters can be solved under the doses that are planned: make high= smaller, or plan "
                "for a shorter time."
            )
        found = largest[is_solved].nan_to_num().median(dim=0).values
        self.density = copy(self.density)
        self.density.size = torch.where(found > 0.0, found, self.density.size)
        if not bool(is_solved.all()):
            self.n_lost = int((~is_solved).sum())
            self._values = {
                name: value[:, is_solved] if value.shape[1] > 1 else value for name, value in self._values.items()
            }
            self.n_draws = int(is_solved.sum())

    n_lost = 0

    def told(self, amounts: Tensor, shifts: Tensor | None) -> KnownDensity:
        """The density of ``q`` series, each the same one under a candidate."""
        q, d = len(amounts), self.slots.n_doses
        chosen = self.density.select(torch.zeros(q, dtype=torch.int64))
        planned = ScheduledEvents(**{name: value.expand(q, -1) for name, value in vars(self._planned).items()})
        time = planned.time if shifts is None else planned.time + shifts[:, :d]
        planned = replace(planned, amount=amounts[:, :d], time=time)
        known = self._steer(chosen.data.known, amounts) if self._steered else None
        return chosen.told(planned, known)

    def solve(
        self, amounts: Tensor, shifts: Tensor | None = None, times: Tensor | None = None,
        side: str = "before", forced: ScheduledEvents | None = None,
    ) -> tuple[KnownDensity, Trajectories]:  # fmt: skip
        """Trajectories (s q m d) at times (m,), those of the clock by default; and the density that they are of."""
        told = self.told(amounts, shifts)
        times = self.clock.times if times is None else times
        way = told.solve(self.values(len(amounts)), times.expand(len(amounts), -1), side, forced)
        return told, way

    def values(self, q: int) -> dict[str, Tensor]:
        """Parameters (q s 1) of the draws."""
        return {name: value.expand(q, self.n_draws, 1) for name, value in self._values.items()}

    def paths(self, amounts: Tensor, shifts: Tensor | None = None) -> Tensor:
        width = max(1, MOST_NUMBERS // (self.n_draws * len(self.clock.times) * len(self.density.system.states)))
        if len(amounts) > width and not torch.is_grad_enabled():
            parts = [None] * len(amounts) if shifts is None else shifts.split(width)
            return torch.cat([self.paths(part, moved) for part, moved in zip(amounts.split(width), parts)])
        told, way = self.solve(amounts, shifts)
        found = self.seen(told, way.states, self.clock.times)
        is_solved = (way.status == Status.OK)[..., None, None]
        return torch.where(is_solved, found, torch.nan).transpose(0, 1)

    def seen(self, told: KnownDensity, states: Tensor, times: Tensor) -> Tensor:
        """Channels (s q m c) of states (s q m d) at times (m,)."""
        s, q, m, _ = states.shape
        p = Parameters(
            self.values(q), lambda value: value.transpose(0, 1).flatten(1)[..., None].expand(s, q, m).reshape(-1)
        )
        series = torch.arange(q)[None, :, None].expand(s, q, m).reshape(-1)
        t = times.expand(s, q, m).reshape(-1)
        p = p.beside(told.known_along(series, p, is_seen=True)(t))
        rows = states.flatten(0, 2)
        columns = [told.system.predict(noise, t, rows, p, None, None) for noise in told.system.observed.values()]
        places = [told.system.states.index(name) for name in self.names[len(columns) :]]  # type: ignore[attr-defined]
        columns += [rows[:, place] for place in places]
        return torch.stack(columns, dim=-1).reshape(s, q, m, -1)

    def _steer(self, known: KnownPaths | None, amounts: Tensor) -> KnownPaths:
        """Inputs of which those that are planned have these values from their times on."""
        assert known is not None
        q, d = amounts.shape[0], self.slots.n_doses
        planned_times = np.unique(self.slots.times[d:])
        knots = known.times[0]
        old = knots[knots.isfinite()]
        times = torch.unique(torch.cat([old, torch.from_numpy(planned_times)]))
        at = torch.searchsorted(old, times, right=True).sub(1).clamp(min=0)
        gap = (times - old[at])[:, None]
        values = known.values[0][at] + known.slopes[0][at] * gap  # (k q)
        slopes = known.slopes[0][at]
        columns_v, columns_s = list(values.expand(q, -1, -1).unbind(-1)), list(slopes.expand(q, -1, -1).unbind(-1))
        for place, action in enumerate(self.slots.actions):
            if not isinstance(action, Input):
                continue
            column = known.names.index(str(action.column))
            own = np.flatnonzero(self.slots.of == place)
            when = torch.from_numpy(self.slots.times[own])
            chosen = amounts[:, own]  # (q r)
            is_after = times >= when[0]
            last = torch.searchsorted(when, times, right=True).sub(1).clamp(min=0)
            if self._steered[action.column]:
                value, slope = chosen[:, last], torch.zeros(q, len(times), dtype=amounts.dtype)
            else:
                length = (when[1:] - when[:-1]).clamp(min=1e-300)
                rise = torch.cat([(chosen[:, 1:] - chosen[:, :-1]) / length, torch.zeros_like(chosen[:, :1])], dim=1)
                value, slope = chosen[:, last] + rise[:, last] * (times - when[last]), rise[:, last]
                before = int(torch.searchsorted(times, when[0])) - 1  # the line up to the first of them
                if before >= 0:
                    old_slope = columns_s[column].clone()
                    old_slope[:, before] = (chosen[:, 0] - columns_v[column][:, before]) / (when[0] - times[before])
                    columns_s[column] = old_slope
            columns_v[column] = torch.where(is_after, value, columns_v[column])
            columns_s[column] = torch.where(is_after, slope, columns_s[column])
        until = known.until[:1].expand(q)
        return KnownPaths(
            known.names, times.expand(q, -1), torch.stack(columns_v, dim=-1), torch.stack(columns_s, dim=-1), until
        )


def _events_of(inputs: DosingInputs | None, slots: Slots) -> ScheduledEvents:
    """Doses of the slots (1 k) in their order, each of amount 1."""
    if not slots.n_doses:
        return no_events(1)
    if inputs is None:
        raise UnreadActionError("The model reads no doses: leave Doses out of actions=.")
    planned = scheduled([inputs], slots.timeline)
    assert planned.time.shape[1] == slots.n_doses
    assert bool((planned.kind == EventKind.ADD).all())
    return replace(planned, time=torch.from_numpy(slots.times[: slots.n_doses])[None])


def steered_columns(slots: Slots, coder: Any) -> dict[Hashable, bool]:
    """Columns of the inputs of slots, and whether each is held, by the coder of a forecaster's covariates."""
    found: dict[Hashable, bool] = {}
    for action in slots.actions:
        if isinstance(action, Input):
            known = [] if coder is None else list(coder.known)
            if action.column not in known:
                raise UnreadActionError(
                    f"{action.what} are no input of the model: fit it with this column in known=. It has "
                    f"{', '.join(map(repr, known)) or 'none'}."
                )
            found[action.column] = bool(coder._holds[known.index(action.column)])
    return found

"""State-triggered events: flow through them, each row at its own times, with gradients through these times."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor

from tsode._checks import check_shapes
from tsode.core.status import Status, worst
from tsode.errors import ParameterError, ShapeError, SolverError, TsodeWarning, ZenoError
from tsode.numerics.base import Gradient, Solver, VectorField, constant, is_finite_row
from tsode.numerics.contact import stays_in_contact
from tsode.numerics.first_crossing import CrossingStep, find_first_crossing, step_to_crossing
from tsode.numerics.integrate import check_field, check_gradient
from tsode.numerics.sign_change import SignChangeDetector
from tsode.numerics.stepwise import StepRecord, StepwiseSolver
from tsode.numerics.surfaces import Trigger, evaluate_surfaces, surface_values
from tsode.numerics.zeno import EventClock

__all__ = ["Crossings", "integrate_triggers"]

_SMALL = (
    1e-9  # a larger share of a value is no rounding error of what follows: the function is steep at this place only
)


@dataclass(frozen=True)
class Crossings:
    """Where a solve through events ended, and what happened on its way.

    Parameters
    ----------
    z : Tensor[b d]
        State at `t_end`, after an event that happens there; the last finite state where a row failed.
    t_end : Tensor[b], float64
        The end time asked for, the time of the terminal event, or that of the last event before `Status.ZENO` or
        `Status.CONTACT`.
    states : Tensor[b m d]
        States at the query times; past `t_end` stands `z`.
    event_times : Tensor[b k], float64
        Padded with infinity; ``k`` is the largest number of events of any row.
    event_index : Tensor[b k], int64
        Which of the events it was; -1 in padding.
    z_minus, z_plus : Tensor[b k d]
        States just before and just after each event; in padding, the state at the end.
    is_grazing : Tensor[b k], bool
        Whether the event time has no usable gradient: the function of the surface jumps there, or the state touched it
        so flatly that it moves, at the event, by less than 1e-4 of what it moved on average since the event before.
        The gradient is then that of a constant event time.
    n_events : Tensor[b], int64
    accumulation_time : Tensor[b], float64
        Of rows with `Status.ZENO`, the time towards which their events run, by extrapolation; infinite elsewhere.
    status, n_steps : Tensor[b], int64
        As in `tsode.numerics.base.Solution`.
    """

    z: Tensor
    t_end: Tensor
    states: Tensor
    event_times: Tensor
    event_index: Tensor
    z_minus: Tensor
    z_plus: Tensor
    is_grazing: Tensor
    n_events: Tensor
    accumulation_time: Tensor
    status: Tensor
    n_steps: Tensor

    def checked(self, names: Sequence[object] | None = None) -> Crossings:
        """Return self if every row reached its end; `names` are what the error calls the rows, else their numbers.

        Raises
        ------
        ZenoError, SolverError
            That names the rows and says what to do.
        """
        failed = [(names[row] if names is not None else row, Status(value), float(self.accumulation_time[row]))
                  for row, value in enumerate(self.status.tolist()) if value != Status.OK]  # fmt: skip
        if not failed:
            return self
        zeno = [(name, limit) for name, status, limit in failed if status == Status.ZENO]
        if zeno:
            rows = ", ".join(
                f"{name!r} (events accumulate at t = {limit:.9g})" if limit < torch.inf else f"{name!r}"
                for name, limit in zeno
            )
            raise ZenoError(f"The solve of row {rows} {Status.ZENO.meaning}.")
        held = [f"{names[row] if names is not None else row!r} (at t = {float(self.t_end[row]):.9g})"
                for row, value in enumerate(self.status.tolist()) if value == Status.CONTACT]  # fmt: skip
        if held:
            raise SolverError(f"The solve of row {', '.join(held)} {Status.CONTACT.meaning}.")
        listed = ", ".join(repr(name) for name, _, _ in failed)
        raise SolverError(f"The solve of row {listed} {max(status for _, status, _ in failed).meaning}.")


def integrate_triggers(
    field: VectorField,
    z: Tensor,
    t0: Tensor,
    t1: Tensor,
    solver: Solver,
    events: Sequence[Trigger],
    *,
    times: Tensor | None = None,
    side: str = "left",
    gradient: str | Gradient = "backprop",
    query_step: float | None = None,
    tol: float = 1e-10,
    max_events: int | None = None,
) -> Crossings:
    """Carry each state forward through its own events to its own end time.

    At the first crossing of a surface the step is cut, the state reset, and the solver started afresh, with the length
    of step that it had. The sign of each surface function is watched inside the steps (`SignChangeDetector`), so
    crossings are found however many there are in one step; only what lasts less than a twentieth of a step can pass
    unseen: give the solver a `max_step` where a surface has such short pulses. An event time is found on the solver's
    dense output and then polished on a true step of the solver to the event; it and all that follows have the gradient
    of the implicit function theorem, in whatever the field, the surfaces, the resets, the start and the times depend
    on. Without a crossing the answer is that of `integrate`, bit for bit.

    Rules at the surface: an event that has just happened does not happen again before the state has left the surface,
    and its way is the sign of its function's rate after the reset. A row that starts on a surface and moves, or would
    fall, in the event's `direction` meets the event at once; otherwise, as with ``direction=0``, it only leaves.
    A crossing that falls on `t1` to the last digit is left to the solve that goes on from there.
    Crossings at the same time happen one after the other in the order of `events`, each with its reset. A reset that
    carries the state across another surface does not set off that event. A touch without a change of sign is no event,
    and neither is a pole of a surface function; a jump over zero is one. A row ends with `Status.CONTACT` where a reset
    puts the state on the surface whenever it is past it, and the field goes on driving it through (a tank that is
    empty): the reset must then also set a mode, a state by which the field knows that it has to rest there.

    Parameters
    ----------
    field, z, t0, t1, gradient
        As in `tsode.numerics.integrate.integrate`, with ``t1 >= t0``.
    solver : Solver
        One that goes step by step. Of fixed steps each stretch from an event to `t1` has `n_steps`, or as many as
        `max_step` asks for.
    events : sequence of Trigger
    times : Tensor[b m], float64, optional
        Times within [t0, t1] at which to report the state too.
    side : {"left", "right"}
        Whether the state at a query that falls on an event is the one before or after it.
    query_step : float, optional
        Lay out the steps without regard to `t1`, as in `integrate_to`: all answers are then read inside the steps.
    tol : float
        Share of a step within which crossings are taken for simultaneous, and to which they are found on the dense
        output.
    max_events : int, optional
        Events of a row, and at most one more, before it stops with `Status.ZENO`; default: no limit. It also stops
        where the gaps between events of one kind have shrunk until a millionth of the time since the start is left to
        their accumulation, or where a hundred events come so fast that a hundred million more would follow.

    Returns
    -------
    Crossings
        Nothing is raised for a row that fails: see its `status`, or call `Crossings.checked`.

    Raises
    ------
    ShapeError
        If the tensors disagree on ``b``, or an event's function returns another shape.
    ParameterError
        If the solver does not go step by step or has no such gradient, an end or query time lies before the start, or
        there is no event.

    Warns
    -----
    TsodeWarning
        If a surface function swings so fast that crossings may have been missed; it says when.

    References
    ----------
    Hiskens and Pai, "Trajectory sensitivity analysis of hybrid systems", IEEE Trans. Circuits and Systems I 47, 2000,
    for the sensitivities across events; Chen, Amos, Nickel, "Learning neural event functions for ordinary differential
    equations", ICLR 2021.
    """
    queries = t0[:, None][:, :0] if times is None else times
    _check(field, z, t0, t1, solver, events, queries, side, gradient, query_step, tol, max_events)
    assert isinstance(solver, StepwiseSolver)
    is_usable = is_finite_row(z) & (t1 - t0).isfinite() & queries.isfinite().all(dim=1)
    initial, z = z, torch.where(is_usable[:, None], z, 0.0)
    t0, t1, queries = t0.where(is_usable, 0.0), t1.where(is_usable, 0.0), queries.where(is_usable[:, None], 0.0)
    loop = _TriggerLoop(field, solver, tuple(events), gradient, query_step, tol, max_events)
    result, path, unclear = loop.run(z, t0, t1)
    _warn(unclear)
    states = _read(solver, path, result.z, queries - t0[:, None], side)
    if query_step is not None:
        result = replace(result, z=_read(solver, path, result.z, (result.t_end - t0)[:, None], "right")[:, 0])
    return replace(
        result,
        z=torch.where(is_usable[:, None], result.z, initial),
        states=torch.where(is_usable[:, None, None], states, initial[:, None]),
        status=result.status.where(is_usable, int(Status.NON_FINITE)),
    )


def _read(solver: StepwiseSolver, path: StepRecord, z: Tensor, elapsed: Tensor, side: str) -> Tensor:
    """States (b m d) at the times `elapsed` (b m) since the start; past the end of the path stands `z` (b d)."""
    if not elapsed.numel() or not path.ends:
        return z[:, None].expand(-1, elapsed.shape[1], -1)
    end = path.ends[-1][:, None]
    is_after = elapsed > end if side == "left" else elapsed >= end
    return torch.where(is_after[..., None], z[:, None], solver.read(path, elapsed, 1.0, side))


class _Occurrence(NamedTuple):
    """One event of the list in the rows where it happens, and the states around it."""

    happens: Tensor
    time: Tensor
    kind: Tensor
    z_minus: Tensor
    z_plus: Tensor
    is_grazing: Tensor


@dataclass(frozen=True)
class _TriggerLoop:
    """The loop over the stretches between events, with the settings of `integrate_triggers`."""

    field: VectorField
    solver: StepwiseSolver
    events: tuple[Trigger, ...]
    gradient: str | Gradient
    query_step: float | None
    tol: float
    max_events: int | None

    def run(self, z: Tensor, t0: Tensor, t1: Tensor) -> tuple[Crossings, StepRecord, Tensor]:
        """Solve; give the recorded path too, whose states past the last event may lie beyond `t1`, and what is unclear.

        What is unclear : Tensor[b e], see `SignChangeDetector`.
        """
        t, size = t0, z.detach().abs()
        status, n_steps = constant(z, Status.OK), constant(z, 0)
        path = StepRecord(z, status, n_steps)
        is_active = torch.ones_like(status, dtype=torch.bool)
        never = ~is_active
        met = [_Occurrence(never, t, constant(z, -1), z, z, never)]  # for a solve without events
        occurrences = list(met)
        limit = torch.full_like(t0, torch.inf)
        clock = EventClock(t0, t1, len(self.events))
        detector = SignChangeDetector(self.solver, self.events, t, z)
        signs = residual = torch.zeros_like(detector.sign)
        turned = signs != 0
        length: Tensor | None = None
        for n_events in count(1):
            surface = evaluate_surfaces(self.events, self.field, t, z, size)
            rounding = torch.where(signs != 0, surface.rounding.maximum(2 * residual), surface.rounding)
            is_on = surface.value.abs() <= rounding
            if length is not None:
                before = [occurrence.z_minus for occurrence in met]
                is_held = is_active & stays_in_contact(
                    self.events, self.field, self.solver, t, before, z, surface, is_on, signs, length
                )
                status = torch.where(is_held, int(Status.CONTACT), status)
                is_active = is_active & ~is_held
            detector.arm(
                surface.value,
                torch.where(is_on, self._sign_on(surface.rate, signs, turned), surface.value.sign()).nan_to_num(),
                torch.where(is_on | (rounding <= _SMALL * surface.value.abs()), rounding, 0.0).nan_to_num(posinf=0.0),
            )
            was_active, stretch, turned = is_active, t, surface.rate * signs < 0
            end = torch.where(is_active, t1, t)
            record = self.solver.advance(self.field, z, t, end, self.gradient, self.query_step, detector, length)
            status, n_steps = worst(status, record.status), n_steps + record.n_steps
            # outside of no_grad: the event before gives its gradient to what follows through the start of the step
            start = t + record.ends[-1] if record.ends else t
            # the steps of a row that has ended may lie beyond its end
            so_far = t - t0 if not path.ends else torch.where(was_active, t - t0, path.ends[-1])
            path.ends += [so_far + end for end in record.ends]
            path.records += record.records
            crossing = find_first_crossing(detector, record.z, start, start - t, self.tol)
            if crossing is None:
                z, t = record.z, torch.where(was_active & (record.status == Status.OK), t1, start)
                break
            step = step_to_crossing(crossing, self.field, self.solver, self.events, self.gradient)
            elapsed = path.ends[-1] if path.ends else so_far
            path.ends.append(torch.where(crossing.exists, step.time - t0, elapsed))
            path.records.append(torch.stack([crossing.z, *step.stages], dim=1))

            is_cut = crossing.exists & (step.time <= t1) if self.query_step is not None else crossing.exists
            is_same_time = crossing.start + crossing.length * crossing.share - t <= self.tol * crossing.length
            size = torch.maximum(crossing.z.detach().abs(), step.z.detach().abs())
            with torch.no_grad():
                residual = surface_values(self.events, step.time, step.z).abs()
                residual = torch.where(crossing.is_jump[:, None], 0.0, residual)
            z = torch.where(is_cut[:, None], step.z, record.z)
            z, is_active, status, met = self._reset(z, step, is_cut, crossing.signs, status)
            occurrences += met
            size = torch.maximum(size, z.detach().abs())
            happened_before = is_same_time[:, None] & (crossing.signs == 0)
            signs, turned = torch.where(happened_before, signs, crossing.signs), happened_before & turned
            is_endless, when = clock.tick(step.time, torch.stack([one.happens for one in met], dim=1))
            if self.max_events is not None and n_events > self.max_events:
                is_endless = is_endless | is_active
            is_endless = is_endless & is_active
            status = torch.where(is_endless, int(Status.ZENO), status)
            limit = torch.where(is_endless, when, limit)
            arrives = was_active & ~is_cut & (record.status == Status.OK)
            t = torch.where(is_cut, step.time, torch.where(arrives, t1, crossing.start))
            since = (step.time - stretch).detach()
            # no longer than twice the time between events: the tolerances are shares of a step
            length = torch.where(since > 0, crossing.length.minimum(2.0 * since), crossing.length)
            length = torch.where(length > 0, length, 1.0)
            is_active = is_active & ~is_endless
            if not is_active.any():  # the loop test
                break
        return _collect(z, t, occurrences, limit, status, n_steps), path, detector.unclear

    def _reset(
        self, z: Tensor, step: CrossingStep, is_active: Tensor, signs: Tensor, status: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, list[_Occurrence]]:
        """Let the events of this time happen in turn: state, which rows go on, status, and what happened."""
        met = []
        for k, event in enumerate(self.events):
            is_met, z_plus = is_active & (signs[:, k] != 0), z
            if event.reset is not None:
                z_plus = event.reset(step.time, z)
                _check_reset(z_plus, z, k)
                is_finite = is_finite_row(z_plus)
                status = torch.where(is_met & ~is_finite, int(Status.NON_FINITE), status)
                z_plus = torch.where((is_met & is_finite)[:, None], z_plus, z)
                is_active = is_active & (is_finite | ~is_met)
            met.append(_Occurrence(is_met, step.time, constant(z, k), z, z_plus, is_met & step.is_grazing))
            z = z_plus
            if event.terminal:
                is_active = is_active & ~is_met
        return z, is_active, status, met

    def _sign_on(self, rate: Tensor, signs: Tensor, turned: Tensor) -> Tensor:
        """Signs (b e) of functions that are zero, by the rules at the surface.

        ``signs`` (b e) holds the signs that the functions of events which have just happened take on, else 0;
        ``turned`` whether an event turned the state back before others happened at the same time.
        """
        direction = rate.new_tensor([event.direction for event in self.events])
        # on the surface and moving in the event's direction, or at rest: still before it; else already behind
        is_before = (direction != 0) & (rate * direction >= 0)
        on_surface = torch.where(is_before, -direction, rate.sign())
        # a state that a reset leaves at rest on the surface has not left it; without a reset it goes through
        has_reset = torch.tensor([event.reset is not None for event in self.events], device=rate.device)
        # and one that others have sent back towards it meets it again
        is_ahead = (rate == 0) | (turned & (rate * signs > 0))
        behind = torch.where(has_reset, torch.where(is_ahead, -signs, rate.sign()), signs)
        return torch.where(signs != 0, behind, on_surface)


def _warn(unclear: Tensor) -> None:
    """Say by name where crossings may have been missed."""
    if unclear.isinf().all():
        return
    row, event = (int(i) for i in unclear.isfinite().nonzero()[0])
    warnings.warn(
        f"The surface of trigger {event} changes so fast, in row {row} from t = {float(unclear[row, event]):.6g} on, "
        "that crossings may have been missed: give the solver a shorter max_step=, as in Dopri5(max_step=0.01).",
        TsodeWarning,
        stacklevel=3,
    )


def _check_reset(z_plus: object, z: Tensor, k: int) -> None:
    if not isinstance(z_plus, Tensor) or z_plus.shape != z.shape:
        came = f"shape {tuple(z_plus.shape)}" if isinstance(z_plus, Tensor) else f"a {type(z_plus).__name__}"
        raise ShapeError(
            f"The reset of event {k} must return the state after it, shape {tuple(z.shape)}, but returned {came}: "
            "write for instance lambda t, z: 0.5 * z."
        )


def _collect(
    z: Tensor, t: Tensor, occurrences: list[_Occurrence], limit: Tensor, status: Tensor, n_steps: Tensor
) -> Crossings:
    """The events of each row, moved to the left."""
    happens, time, kind, z_minus, z_plus, is_grazing = (torch.stack(column, dim=1) for column in zip(*occurrences))
    n_events = happens.sum(dim=1)
    order = (~happens).to(torch.int8).argsort(dim=1, stable=True)[:, : int(n_events.max()) if len(z) else 0]
    of_states = order[..., None].expand(-1, -1, z.shape[1])
    is_event = happens.gather(1, order)

    def states(x: Tensor) -> Tensor:
        return torch.where(is_event[..., None], x.gather(1, of_states), z[:, None])

    return Crossings(
        z=z,
        t_end=t,
        states=z[:, None][:, :0],
        event_times=torch.where(is_event, time.gather(1, order), torch.inf),
        event_index=torch.where(is_event, kind.gather(1, order), -1),
        z_minus=states(z_minus),
        z_plus=states(z_plus),
        is_grazing=is_grazing.gather(1, order) & is_event,
        n_events=n_events,
        accumulation_time=limit,
        status=status,
        n_steps=n_steps,
    )


def _check(
    field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, solver: Solver, events: Sequence[Trigger], times: Tensor,
    side: str, gradient: str | Gradient, query_step: float | None, tol: float, max_events: int | None,
) -> None:  # fmt: skip
    check_shapes(z=(z, "b d"), t0=(t0, "b"), t1=(t1, "b"), times=(times, "b m"))
    if not isinstance(solver, StepwiseSolver):
        raise ParameterError(
            f"Events need a solver that goes step by step, which {type(solver).__name__} does not: use for instance "
            "Dopri5() or RK4(max_step=0.1)."
        )
    check_gradient(solver, gradient, ("backprop", "checkpoint"))
    check_field(solver, field)
    if not events:
        raise ParameterError("events is empty: give at least one Trigger, or call integrate.")
    if side not in ("left", "right"):
        raise ParameterError(f"side must be 'left' (before an event) or 'right' (after it), but is {side!r}.")
    if query_step is not None and not query_step > 0:
        raise ParameterError(f"query_step must be a positive length of time or None, but is {query_step}.")
    if not 0 < tol < 1e-2:
        raise ParameterError(f"tol is a share of a step and must lie in (0, 0.01), but is {tol}.")
    if max_events is not None and max_events < 1:
        raise ParameterError(f"max_events must be at least 1, but is {max_events}.")
    if (t1 < t0).any():
        row = int((t1 < t0).int().argmax())
        raise ParameterError(
            f"Events are solved forward in time, but row {row} goes from {float(t0[row])} back to {float(t1[row])}: "
            "swap t0 and t1, or use integrate, which has no events and runs backward."
        )
    is_outside = (times < t0[:, None]) | (times > t1[:, None])
    if is_outside.any():
        row, column = (int(i) for i in is_outside.nonzero()[0])
        raise ParameterError(
            f"Query times must lie between t0 and t1, but row {row} asks for {float(times[row, column])} and runs from "
            f"{float(t0[row])} to {float(t1[row])}."
        )
    for k, event in enumerate(events):
        value = event.surface(t0, z)
        if not isinstance(value, Tensor) or value.shape != t0.shape:
            came = f"{tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise ShapeError(
                f"The surface of event {k} must return one number a row, shape {tuple(t0.shape)}, but returned "
                f"{came}: write for instance lambda t, z: z[:, 0]."
            )

"""Scheduled events: the solver stops at each, it is applied, the solver starts again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tsode._checks import check_shapes
from tsode.core.scheduled_events import EventKind, ScheduledEvents
from tsode.core.status import Status, worst
from tsode.numerics.affine_field import AffineField
from tsode.numerics.base import Gradient, Solver, VectorField, constant, is_finite_row
from tsode.numerics.crossings import Crossings, integrate_triggers
from tsode.numerics.driven import driven
from tsode.numerics.failure import FirstFailure
from tsode.numerics.integrate import integrate, integrate_through
from tsode.numerics.newton import find_root
from tsode.numerics.retimed import retimed
from tsode.numerics.shadow import is_differentiated
from tsode.numerics.staged_field import StagedField, easier
from tsode.numerics.surfaces import Trigger

__all__ = ["ScheduledSolution", "solve_scheduled"]

QUERY_STEP = 0.25  # as in `integrate_to`: steps that are read from are laid out without regard to what is asked


@dataclass(frozen=True)
class _Stops:
    """Begins of events and ends of inputs in one queue: time (b q), index of the event (b q), whether it is an end."""

    time: Tensor
    index: Tensor
    is_end: Tensor


@dataclass(frozen=True)
class ScheduledSolution:
    """Where a solve through known events went.

    Parameters
    ----------
    z : Tensor[b m d]
        States at the times asked for.
    status, n_steps, n_switches : Tensor[b], int64
        As in `tsode.numerics.base.Solution`; no changes between methods are counted with triggers.
    crossings : list of Crossings
        State-triggered events met, stretch by stretch; nothing without triggers.
    failure : FirstFailure
    """

    z: Tensor
    status: Tensor
    n_steps: Tensor
    crossings: list[Crossings]
    n_switches: Tensor
    failure: FirstFailure


@dataclass(frozen=True)
class _Segment:
    """State at the end (b d), states on the way (b n d), status, steps, when it ended, triggers met, changes, reach."""

    z: Tensor
    states: Tensor
    status: Tensor
    n_steps: Tensor
    t_end: Tensor
    crossings: list[Crossings]
    n_switches: Tensor | None = None
    reached: Tensor | None = None


def solve_scheduled(
    field: VectorField,
    z: Tensor,
    t0: Tensor,
    times: Tensor,
    events: ScheduledEvents,
    solver: Solver,
    side: str | Tensor = "before",
    gradient: str | Gradient = "backprop",
    triggers: Sequence[Trigger] = (),
) -> ScheduledSolution:
    """Carry each state from its own start through its own events to each of its own times.

    An answer depends on its own time and the row's events only, never on which other times are asked for.

    Parameters
    ----------
    field : callable
        Right-hand side: ``t`` (b,) float64, ``z`` (b d) -> (b d), each row by itself. Between two stops it only sees
        times strictly between them: one that switches at an event's time is never asked on the wrong side of it.
    z : Tensor[b d]
        States at `t0`, before any event.
    t0 : Tensor[b], float64
        Not after any of the row's events and times.
    times : Tensor[b m], float64
        In any order.
    events : ScheduledEvents
    solver : Solver
        Fixed steps are laid out anew from every stop: give a `max_step`.
    side : {"before", "after"} or Tensor[b m], int64
        What a time sees that is also that of events: the state before the first of them, or after the last, or after
        so many of them.
    gradient : {"backprop", "checkpoint"}
        As in `tsode.numerics.integrate.integrate`.
    triggers : sequence of Trigger
        State-triggered events, see `tsode.numerics.crossings.integrate_triggers`; at a known event they are armed anew.
        After a terminal one a row stands still. A steady state is found without them.

    Returns
    -------
    ScheduledSolution
        Past the point where a row failed its states mean nothing.
    """
    check_shapes(z=(z, "b d"), t0=(t0, "b"), times=(times, "b m"), event_times=(events.time, "b k"))
    stages, as_given = field if isinstance(field, StagedField) else None, solver
    if stages is None:
        field, solver = easier(field, solver, t0, z, bool(triggers))
    status, n_steps, n_switches = constant(z, Status.OK), constant(z, 0), constant(z, 0)
    failure = FirstFailure(t0, z, status)
    if not times.numel():
        return ScheduledSolution(z[:, None].expand(-1, times.shape[1], -1), status, n_steps, [], n_switches, failure)
    # The length that an input has between its stops: all of its amount is given, at once where rounding leaves none.
    length = (events.time + events.duration) - events.time
    events = replace(events, duration=length.where(events.time.isfinite(), events.duration))
    still_running, rates, running = _still_running(events), _rates(events), torch.zeros_like(events.kind)
    has_input = bool((rates != 0).any())
    stops = _line_up(events, still_running, until=times.amax(dim=1))
    segment = _segments(stops, times.contiguous(), side, events)
    targets = nn.functional.one_hot(events.target, z.shape[1]).bool()  # (b k d)
    answers: list[Tensor] = []
    n_answers, n_queries = 0, segment.flatten().bincount(minlength=stops.time.shape[1] + 1).tolist()
    crossings: list[Crossings] = []
    clock, place, has_ended = t0, torch.zeros_like(segment), torch.zeros_like(status, dtype=torch.bool)
    for k in range(stops.time.shape[1] + 1):
        is_last = k == stops.time.shape[1]
        stop = stops.time[:, k] if not is_last else torch.full_like(clock, torch.inf)
        columns, place = _queries_of(segment == k, place, n_answers) if n_queries[k] else (segment[:, :0], place)
        within = times.gather(1, columns)
        # A place that is not of this segment asks for the state there is.
        within = torch.where((segment == k).gather(1, columns) & ~has_ended[:, None], within, clock[:, None])
        stop = stop.where(~has_ended, torch.inf)
        if stages is not None:
            field, solver = easier(stages.during(_inside(clock, stop)), as_given, clock, z, bool(triggers))
        fed = _driven(field, _inputs(rates, running, targets)) if has_input else field
        if triggers:
            way = _carry_over(fed, z, clock, stop, within, solver, gradient, triggers, side)
        else:
            way = _carry(fed, z, clock, stop, within, solver, gradient)
        z = way.z
        answers.append(way.states)
        n_answers += way.states.shape[1]
        crossings += way.crossings
        failure = failure.then(way.status, way.t_end if way.reached is None else way.reached, z, within, way.states)
        status, n_steps = worst(status, way.status), n_steps + way.n_steps
        n_switches = n_switches if way.n_switches is None else n_switches + way.n_switches
        has_ended = has_ended | (way.t_end < torch.where(stop.isfinite(), stop, clock))
        clock = torch.where(has_ended, way.t_end.detach(), clock)
        if not is_last:
            happens = stop.isfinite() & ~has_ended
            clock = torch.where(happens, stop, clock)
            z, running, outcome = _apply(
                field, z, running, clock, events, still_running, rates, stops.index[:, k], stops.is_end[:, k], happens,
                targets, solver, gradient,
            )  # fmt: skip
            status = worst(status, outcome)
    states = torch.cat(answers, dim=1)
    states = states.gather(1, place[..., None].expand(-1, -1, z.shape[1]))
    return ScheduledSolution(states, status, n_steps, crossings, n_switches, failure)


def _carry(
    field: VectorField, z: Tensor, clock: Tensor, stop: Tensor, times: Tensor, solver: Solver, gradient: str | Gradient
) -> _Segment:
    """Carry each state to its row's next stop, and read it at times on the way.

    Parameters
    ----------
    stop : Tensor[b], float64
        A row whose stop is infinite stays at its clock.
    times : Tensor[b n], float64
        Between clock and stop; one at the stop is answered with the state there.
    """
    between = _between(field, clock, stop)
    there = torch.where(stop.isfinite(), stop, clock)
    at_stop = times == stop[:, None]
    end, way = integrate_through(between, z, clock, stop, torch.where(at_stop, clock[:, None], times), solver, gradient)
    z_end = _moved(between, end, clock, there[:, None])[:, 0]
    at_clock = (times == clock[:, None])[..., None]
    read = torch.where(at_clock, _moved(between, z, clock, times), way.z)
    states = torch.where(at_stop[..., None], _moved(between, z_end, there, times), read)
    return _Segment(z_end, states, way.status, way.n_steps, there, [], way.n_switches, way.reached)


def _carry_over(
    field: VectorField, z: Tensor, clock: Tensor, stop: Tensor, times: Tensor, solver: Solver,
    gradient: str | Gradient, triggers: Sequence[Trigger], side: str | Tensor,
) -> _Segment:  # fmt: skip
    """As `_carry`, over the surfaces of state-triggered events."""
    between = _between(field, clock, stop)
    has_stop = stop.isfinite()
    there = torch.where(has_stop, stop, clock)
    end = integrate_triggers(between, z, clock, there, solver, triggers, gradient=gradient)
    z_end = _moved(between, end.z, clock, there[:, None])[:, 0]
    if not times.shape[1]:
        states = z[:, None][:, :0]
        return _Segment(z_end, states, end.status, end.n_steps, end.t_end, [end])
    # what is read on the way: a row with a stop goes as far, one without as far as it is asked
    until = torch.where(has_stop, stop, torch.maximum(clock, times.amax(dim=1)))
    way = integrate_triggers(
        between, z, clock, until, solver, triggers, times=times, side="right" if side == "after" else "left",
        gradient=gradient, query_step=QUERY_STEP,
    )  # fmt: skip
    # at the stop, and behind a terminal event, stands the state that goes on from here
    is_at_end = (times == stop[:, None]) | (has_stop[:, None] & (times > end.t_end[:, None]))
    at_clock = (times == clock[:, None])[..., None]
    read = torch.where(at_clock, _moved(between, way.states, clock, times), way.states)
    states = torch.where(is_at_end[..., None], _moved(between, z_end, there, times), read)
    met = [replace(part, event_times=part.event_times.where(keep[:, None], torch.inf))
           for part, keep in ((end, has_stop), (way, ~has_stop))]  # fmt: skip
    return _Segment(z_end, states, worst(end.status, way.status), end.n_steps + way.n_steps, end.t_end, met)


def _moved(field: VectorField, z: Tensor, t: Tensor, times: Tensor) -> Tensor:
    """States at those of `times` (b n) that are `t` (b,) itself: `z` (b d or b n d), with the slopes of the way there.

    A solver gives a way of no length back as it is. But where a dose arrives just when another does, or when a value
    is measured, a lag moves it, and the derivative by the lag is that of a way which is about to have a length.
    """
    states = z[:, None].expand(-1, times.shape[1], -1) if z.dim() == 2 else z
    length = torch.where(times == t[:, None], times - t[:, None], 0.0)
    if not is_differentiated(length):
        return states
    at = states.flatten(0, 1) if z.dim() == 3 else z
    slope = field(t.repeat_interleave(times.shape[1]) if z.dim() == 3 else t, at)
    slope = torch.where(is_finite_row(slope)[:, None], slope, 0.0)
    slope = slope.reshape(states.shape) if z.dim() == 3 else slope[:, None]
    return states + length.to(z)[..., None] * slope


def _line_up(events: ScheduledEvents, before: Tensor, until: Tensor) -> _Stops:
    """The stops of each row no later than `until` (b,), ends before begins."""
    n_copies = int(before.max()) + 1 if before.numel() else 1
    begin = events.time.masked_fill(events.time > until[:, None], torch.inf)
    copies = torch.arange(n_copies, device=begin.device)
    # In steady state, inputs that began up to `before` intervals earlier still go on.
    end = (begin - events.since + events.duration)[..., None] - copies * events.every[..., None]
    is_stop = (events.duration > 0)[..., None] & (copies <= before[..., None]) & (end <= until[:, None, None])
    is_stop = is_stop & ((end > begin[..., None]) | (events.since == 0)[..., None])
    end = torch.where(is_stop, end, torch.inf)
    index = torch.arange(begin.shape[1], device=begin.device)
    time = torch.cat([end.flatten(1), begin], dim=1)
    whose = torch.cat([index.repeat_interleave(n_copies), index]).expand_as(time)
    order = time.argsort(dim=1, stable=True)
    time, whose, is_end = time.gather(1, order), whose.gather(1, order), order < end[0].numel()
    n = int(time.isfinite().sum(dim=1).max())
    return _Stops(time[:, :n].contiguous(), whose[:, :n], is_end[:, :n])


def _segments(stops: _Stops, times: Tensor, side: str | Tensor, events: ScheduledEvents) -> Tensor:
    """Number of stops that each of `times` (b m) comes after, (b m)."""
    first, last = (torch.searchsorted(stops.time, times, right=right) for right in (False, True))
    if isinstance(side, str):
        return last if side == "after" else first
    # Ends come first of all at a time, and parts of an event along with it.
    is_part = events.is_part.gather(1, stops.index) & ~stops.is_end
    n_ends, n_whole = (nn.functional.pad(x.long().cumsum(dim=1), (1, 0)) for x in (stops.is_end, ~is_part))
    wanted = n_whole.gather(1, first) + n_ends.gather(1, last) - n_ends.gather(1, first) + side
    past = torch.searchsorted(n_whole[:, 1:].contiguous(), wanted, right=True)
    return torch.where(side > 0, torch.minimum(past, last), first)


def _still_running(events: ScheduledEvents) -> Tensor:
    """Number of earlier inputs that go on when the last one in steady state begins, (b k)."""
    is_periodic = (events.steady_state > 0) & (events.every > 0) & events.duration.isfinite()
    count = torch.where(is_periodic, (events.duration / events.every).ceil() - 1, 0.0).clamp(min=0)
    # Rounding must not count one that ends just then.
    rounding = 4 * torch.finfo(count.dtype).eps * (events.time.abs() + events.duration)
    return (count - (events.duration - count * events.every <= rounding).to(count)).clamp(min=0).long()


def _queries_of(mask: Tensor, place: Tensor, offset: int) -> tuple[Tensor, Tensor]:
    """Columns of the queries in `mask` (b m), in front, (b n); and the `place` (b m) where their answers will stand."""
    n = int(mask.sum(dim=1).max())
    order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)[:, :n]
    return order, torch.where(mask, offset + mask.long().cumsum(dim=1) - 1, place)


def _between(field: VectorField, start: Tensor, stop: Tensor) -> VectorField:
    """The field asked at times strictly between `start` and `stop` (b,) only."""
    if isinstance(field, AffineField):
        return field
    # They only choose where to ask, so that no derivative, and no shadow of the solution, moves them over an event.
    start, stop = start.detach(), stop.detach()
    first = torch.nextafter(start, torch.full_like(start, torch.inf))
    last = torch.nextafter(stop, torch.full_like(stop, -torch.inf))

    def clock(t: Tensor) -> Tensor:
        inside = t.clamp(first, last)
        if is_differentiated(t):  # at start and stop themselves the derivative by the time is that of the side asked
            is_edge = (t >= start) & (t <= stop)
            inside = torch.where(is_edge, inside.detach() + (t - t.detach()), inside)
        return inside

    return retimed(field, clock)


def _inside(start: Tensor, stop: Tensor) -> Tensor:
    """Times between `start` and `stop` (b,), just before where they are one: as `_between` has them."""
    first = torch.nextafter(start.detach(), torch.full_like(start, torch.inf))
    return torch.minimum(first, torch.nextafter(stop.detach(), torch.full_like(stop, -torch.inf)))


def _driven(field: VectorField, inputs: Tensor) -> VectorField:
    return field.plus(inputs) if isinstance(field, AffineField) else driven(field, inputs)


def _rates(events: ScheduledEvents) -> Tensor:
    """What each input puts in per unit of time, (b k); 0 for what happens at once."""
    is_input = events.duration > 0
    length = torch.where(is_input & events.duration.isfinite(), events.duration, 1.0)
    return torch.where(is_input, events.amount / length.to(events.amount), 0.0)


def _inputs(rates: Tensor, running: Tensor, targets: Tensor) -> Tensor:
    """What goes into each state per unit of time, (b d)."""
    return ((running * rates)[..., None] * targets).sum(dim=1)


def _apply(
    field: VectorField,
    z: Tensor,
    running: Tensor,
    clock: Tensor,
    events: ScheduledEvents,
    still_running: Tensor,
    rates: Tensor,
    index: Tensor,
    is_end: Tensor,
    happens: Tensor,
    targets: Tensor,
    solver: Solver,
    gradient: str | Gradient,
) -> tuple[Tensor, Tensor, Tensor]:
    """The state after one event of every row, the number of running inputs of each event, and the status."""

    def current(x: Tensor) -> Tensor:
        return x.gather(1, index[:, None])[:, 0]

    begins = happens & ~is_end
    kind = torch.where(begins, current(events.kind), int(EventKind.MARK))
    target = targets[torch.arange(len(z), device=z.device), index]
    amount, duration, steady = (
        current(events.amount)[:, None],
        current(events.duration),
        current(events.steady_state) * begins,
    )
    is_added = (kind == EventKind.ADD) | (kind == EventKind.RESET_ADD)
    is_input = is_added & (duration > 0)
    since, before = current(events.since), current(still_running)
    is_reset = (kind == EventKind.RESET) | (kind == EventKind.RESET_ADD)

    status = constant(z, Status.OK)
    z = torch.where(is_reset[:, None], 0.0, z)
    if (steady > 0).any():
        repeated = torch.zeros_like(running).scatter(1, index[:, None], (steady > 0).long()[:, None])
        z, status = _reach_steady_state(
            field, z, clock, steady, _inputs(rates, repeated, targets), amount * (target & (duration == 0)[:, None]),
            duration, current(events.every), before, since, solver, gradient,
        )  # fmt: skip
    z = torch.where(target & (kind == EventKind.SET)[:, None], amount, z)
    z = torch.where(target & (kind == EventKind.MULTIPLY)[:, None], amount * z, z)
    z = torch.where(target & (is_added & ~is_input & (since == 0))[:, None], z + amount, z)

    running = torch.where((is_reset | (steady == 1))[:, None], 0, running)
    is_on = duration - before * current(events.every) > since  # the last input of a steady state, which may be over
    change = torch.where(is_input, is_on + before, 0) - (happens & is_end).long()
    # An input that a reset has ended does not end again.
    return z, running.scatter_add(1, index[:, None], change[:, None]).clamp(min=0), status


def _reach_steady_state(
    field: VectorField,
    z: Tensor,
    clock: Tensor,
    steady: Tensor,
    rate: Tensor,
    bolus: Tensor,
    duration: Tensor,
    every: Tensor,
    before: Tensor,
    since: Tensor,
    solver: Solver,
    gradient: str | Gradient,
) -> tuple[Tensor, Tensor]:
    """The states in steady state, just before a dose or `since` after it; rows with ``steady == 0`` stay as they are.

    Parameters
    ----------
    rate, bolus : Tensor[b d]
        Of one dose: what goes in per unit of time, and at once.
    duration, every : Tensor[b]
        Of the input, and between doses; an input without end has no interval.
    before : Tensor[b]
        Earlier inputs that go on when the next begins.
    since : Tensor[b]
        How long ago the last dose began; 0: it begins now.
    """
    is_periodic = (steady > 0) & duration.isfinite()
    is_constant = (steady > 0) & ~duration.isfinite()
    now, clock = clock, clock - since
    start = torch.where(is_periodic, clock - every, clock)
    turn = torch.where(is_periodic, torch.minimum(start + (duration - before * every).nan_to_num(), clock), clock)
    bolus = bolus * is_periodic[:, None]
    full, less = ((before + n).to(z)[:, None] * rate for n in (1, 0))

    def balance(x: Tensor) -> tuple[Tensor, Tensor]:
        """What a period adds to the state; of a constant input, the derivative."""
        on = integrate(_between(_driven(field, full), start, turn), x + bolus, start, turn, solver, gradient)
        off = integrate(_between(_driven(field, less), turn, clock), on.z, turn, clock, solver, gradient)
        gain = off.z - x
        if is_constant.any():
            gain = torch.where(is_constant[:, None], field(clock, x) + rate + 0 * x, gain)
        return gain, worst(on.status, off.status) == Status.OK

    size = (bolus.abs() + rate.abs() * torch.where(is_periodic, duration, 1.0)[:, None]).detach().amax(dim=1)
    if (is_constant & (size == 0)).any():  # no input: what enters is what the field itself produces
        size = torch.where(is_constant & (size == 0), field(clock, z).detach().abs().amax(dim=1), size)
    root, slopes, is_found = find_root(balance, z, size, may_grow=(bolus == 0) & (rate == 0))
    growth = torch.linalg.eigvals(slopes.nan_to_num())
    # A balance that the smallest push drives away from is not where doses lead.
    fades = torch.where(
        is_constant[:, None], growth.real <= 1e-9 * growth.abs().amax(1, True), (1 + growth).abs() < 1.000001
    )
    status = torch.where((steady > 0) & ~(is_found & fades.all(dim=1)), int(Status.NO_STEADY_STATE), constant(z, 0))
    # A parameter kept as a state is in balance whatever the doses: they add nothing to it.
    is_held = (slopes == 0).all(dim=2)
    if (since > 0).any():
        turn = torch.minimum(clock + (turn - start), now)
        on = integrate(_between(_driven(field, full), clock, turn), root + bolus, clock, turn, solver, gradient)
        off = integrate(_between(_driven(field, less), turn, now), on.z, turn, now, solver, gradient)
        root = torch.where((since > 0)[:, None] & ~is_held, off.z, root)
        status = worst(status, worst(on.status, off.status))
    added = root.masked_fill(is_held, 0.0)
    return torch.where((steady == 1)[:, None], root, torch.where((steady == 2)[:, None], z + added, z)), status

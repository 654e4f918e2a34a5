"""Gradients through the times of scheduled events: lags and durations that are parameters, and coincidences."""

from __future__ import annotations

import pytest
import torch

from tsode.core.scheduled_events import EventKind, ScheduledEvents
from tsode.numerics.dopri5 import Dopri5
from tsode.numerics.scheduled_events import solve_scheduled
from tsode.numerics.surfaces import Trigger

START, DOSE, SECOND = 3.0, 5.0, 2.0
SOLVER = Dopri5(rtol=1e-10, atol=1e-12)
FIELDS = {"affine": lambda k: lambda t, z: -k * z, "stepped": lambda k: lambda t, z: -k * z + 0.0 * torch.sin(z)}


def number(value):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def schedule(times, amounts, kinds=None, durations=None):
    """Events of one row."""
    time = torch.stack([torch.as_tensor(t, dtype=torch.float64) for t in times])[None]
    none = torch.zeros_like(time).detach()
    n_none = none.long()
    kind = n_none + EventKind.ADD if kinds is None else torch.tensor([[int(kind) for kind in kinds]])
    duration = none if durations is None else torch.stack(list(durations))[None]
    amount = torch.stack([torch.as_tensor(a, dtype=torch.float64) for a in amounts])[None]
    return ScheduledEvents(time, kind, n_none, amount, duration, none, n_none, none, n_none.bool())


def solved(field, events, at, side="before", triggers=()):
    z = torch.tensor([[START]], dtype=torch.float64)
    times = torch.tensor([[at]], dtype=torch.float64)
    found = solve_scheduled(field, z, times.new_zeros(1), times, events, SOLVER, side, triggers=triggers)
    assert found.status.tolist() == [0]
    return found.z[0, 0, 0]


def agree(found, exact, parameters):
    """Values and, apart from them, gradients."""
    torch.testing.assert_close(found, exact, rtol=1e-8, atol=1e-9)
    ours, theirs = (torch.autograd.grad(x, parameters, retain_graph=True, materialize_grads=True)
                    for x in (found, exact))  # fmt: skip
    for one, other in zip(ours, theirs):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def rest(k, at):
    return START * torch.exp(-k * at)


def dosed(k, since, amount=DOSE):
    return amount * torch.exp(-k * since)


@pytest.fixture(params=FIELDS)
def field_of(request):
    return FIELDS[request.param]


@pytest.mark.parametrize("at", [0.5, 1.0, 2.0, 3.0])
def test_a_lag_has_the_derivative_of_the_closed_form(field_of, at):
    k, lag = number(0.7), number(0.4)
    exact = rest(k, at) + (dosed(k, at - 1.0 - lag) if at > 1.4 else 0.0)
    agree(solved(field_of(k), schedule([1.0 + lag], [DOSE]), at), exact, (k, lag))


def test_a_bioavailability_has_the_derivative_of_the_closed_form(field_of):
    k, share = number(0.7), number(0.4)
    exact = rest(k, 2.0) + share * dosed(k, 1.0)
    agree(solved(field_of(k), schedule([1.0], [share * DOSE]), 2.0), exact, (k, share))


@pytest.mark.parametrize("at", [1.5, 1.75, 2.5])
def test_an_infusion_has_the_derivative_by_begin_and_by_duration_or_rate(field_of, at):
    # 1.75 is while it runs, 2.5 after it
    k, lag, duration, rate = number(0.7), number(0.25), number(0.75), number(DOSE / 0.75)
    for length, per_time in ((duration, DOSE / duration), (DOSE / rate, rate)):
        until = length if at > 2.0 else at - 1.25 + (0.25 - lag)
        in_it = per_time / k * (1 - torch.exp(-k * until)) * torch.exp(-k * (at - 1.0 - lag - until))
        events = schedule([1.0 + lag], [DOSE], durations=[length])
        exact = rest(k, at) + (in_it if at > 1.25 else 0.0)
        agree(solved(field_of(k), events, at), exact, (k, lag, duration, rate))


@pytest.mark.parametrize(("side", "is_there"), [("before", False), ("after", True)])
def test_a_value_at_the_arrival_has_the_derivative_of_its_side(field_of, side, is_there):
    k, lag = number(0.7), number(0.5)
    exact = rest(k, 1.5) + (dosed(k, 0.5 - lag) if is_there else 0.0)
    agree(solved(field_of(k), schedule([1.0 + lag], [DOSE]), 1.5, side), exact, (k, lag))


@pytest.mark.parametrize("triggers", [(), (Trigger(lambda t, z: z[:, 0] - 100.0, direction=1),)])
def test_doses_that_coincide_have_derivatives_of_their_own(field_of, triggers):
    k, one, other = number(0.7), number(0.5), number(0.5)
    events = schedule([1.0 + one, 1.0 + other], [DOSE, SECOND])
    exact = rest(k, 2.0) + dosed(k, 1.0 - one) + dosed(k, 1.0 - other, SECOND)
    agree(solved(field_of(k), events, 2.0, triggers=triggers), exact, (k, one, other))


def test_a_dose_that_arrives_at_the_start_has_the_derivative_of_a_lag(field_of):
    k, lag = number(0.7), number(0.0)
    agree(solved(field_of(k), schedule([lag], [DOSE]), 1.0), rest(k, 1.0) + dosed(k, 1.0 - lag), (k, lag))


def test_a_reset_just_before_the_arrival_leaves_the_derivative_of_the_dose(field_of):
    k, lag = number(0.7), number(0.5)
    events = schedule([1.5, 1.0 + lag], [0.0, SECOND], [EventKind.RESET, EventKind.ADD])
    agree(solved(field_of(k), events, 2.0), dosed(k, 1.0 - lag, SECOND), (k, lag))


def test_an_infusion_that_ends_when_a_dose_arrives_has_the_derivatives_of_both(field_of):
    k, duration, lag = number(0.7), number(1.0), number(0.5)
    begin, none = torch.zeros(2, dtype=torch.float64)
    events = schedule([begin + 0.5, 1.0 + lag], [DOSE, SECOND], durations=[duration, none])
    rate = DOSE / duration
    after = rate / k * (1 - torch.exp(-k * duration)) * torch.exp(-k * (1.5 - duration))
    agree(solved(field_of(k), events, 2.0), rest(k, 2.0) + after + dosed(k, 1.0 - lag, SECOND), (k, duration, lag))


def test_a_field_that_reads_the_time_has_the_derivative_of_a_lag():
    k, lag, at = number(0.7), number(0.4), torch.tensor(2.0, dtype=torch.float64)

    def driven(t):
        return (k * torch.sin(3 * t) - 3 * torch.cos(3 * t)) / (k * k + 9)

    exact = rest(k, at) + driven(at) - driven(0 * at) * torch.exp(-k * at) + dosed(k, at - 1.0 - lag)
    found = solved(lambda t, z: -k * z + torch.sin(3 * t)[:, None], schedule([1.0 + lag], [DOSE]), 2.0)
    agree(found, exact, (k, lag))


def test_the_first_step_may_be_one_for_each_row():
    lengths = torch.tensor([0.5, 0.01], dtype=torch.float64)
    z, t = torch.ones(2, 1, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    field = FIELDS["stepped"](0.7)
    both = Dopri5(first_step=lengths).solve(field, z, t, t + 1.0, "backprop").z
    for row, length in enumerate(lengths.tolist()):
        alone = Dopri5(first_step=length).solve(field, z, t, t + 1.0, "backprop").z[row]
        torch.testing.assert_close(both[row], alone, rtol=1e-14, atol=0.0)  # steps of other lengths are 1e-8 apart


def test_values_on_the_way_to_events_cost_no_solve_of_their_own():
    calls = []

    def field(t, z):
        calls.append(len(t))
        return torch.cos(3.0 * z) - z

    def ask(*at):
        calls.clear()
        times = torch.tensor([at], dtype=torch.float64)
        state = torch.tensor([[START]], dtype=torch.float64)
        events = schedule([1.0, 2.5, 4.0], [DOSE, DOSE, DOSE])
        found = solve_scheduled(field, state, times.new_zeros(1), times, events, SOLVER)
        return found.z[0, :, 0], len(calls)

    few, n_few = ask(4.0)
    many, n_many = ask(0.2, 0.9, 1.5, 1.7, 2.5, 3.9, 4.0)
    assert n_many == n_few
    assert many[-1] == few[0]
    fine = Dopri5(rtol=1e-12, atol=1e-13)
    z, clock = torch.tensor([[START]], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for at, expected in zip((0.2, 0.9, 1.0, 1.5), (many[0], many[1], None, many[2])):
        until = torch.tensor([at], dtype=torch.float64)
        z, clock = fine.solve(field, z, clock, until, "backprop").z, until
        if expected is None:
            z = z + DOSE
        else:
            torch.testing.assert_close(z[0, 0], expected, rtol=1e-7, atol=1e-8)

"""Sign changes of surface functions that turn, jump, touch or have poles inside the steps."""

import math
import warnings

import pytest
import torch
from torch import Tensor

from tsode.errors import TsodeWarning
from tsode.numerics import RK4, Dopri5
from tsode.numerics.crossings import Crossings, integrate_triggers
from tsode.numerics.surfaces import Trigger

TIGHT = Dopri5(rtol=1e-10, atol=1e-12)


def clock(t: Tensor, z: Tensor) -> Tensor:
    return torch.ones_like(z)


def cross(surface, t1, direction=0, t0=0.0, field=clock, z=(0.0,), solver=TIGHT, **how) -> Crossings:
    state = torch.tensor([list(z)], dtype=torch.float64)
    start = torch.full((1,), t0, dtype=torch.float64)
    triggers = [surface] if isinstance(surface, Trigger) else [Trigger(surface, direction)]
    with torch.no_grad():
        return integrate_triggers(field, state, start, torch.full_like(start, t1), solver, triggers, **how)


def times(found: Crossings) -> list[float]:
    return found.event_times[0].tolist()


# ---------------------------------------------------------------------------------------------- faster than the steps


@pytest.mark.parametrize("solver", [TIGHT, Dopri5(), RK4()], ids=["tight", "default", "one step"])
def test_all_rises_of_a_sine_are_found_however_long_the_steps(solver):
    found = cross(lambda t, z: torch.sin(10 * t), 30.0, 1, 0.01, solver=solver)
    assert times(found) == pytest.approx([k * 2 * math.pi / 10 for k in range(1, 48)], abs=1e-9)


def test_a_fast_sine_beside_a_field_at_rest_misses_no_rise():
    found = cross(lambda t, z: torch.sin(1000 * t), 0.25, 1, 0.0001, field=lambda t, z: 0 * z)
    assert times(found) == pytest.approx([k * 2 * math.pi / 1000 for k in range(1, 40)], abs=1e-10)


def test_a_chirp_is_followed_as_it_quickens():
    found = cross(lambda t, z: torch.sin(t * t), 12.0, -1)
    exact = [math.sqrt((2 * k + 1) * math.pi) for k in range(23)]
    assert times(found) == pytest.approx([t for t in exact if t < 12], abs=1e-9)


def test_a_surface_of_the_state_that_swings_is_followed_through_its_resets():
    back = Trigger(lambda t, z: torch.sin(40 * z[:, 0]) - 0.5, 1, lambda t, z: z + 0.5)
    found = cross(back, 6.0)
    where, exact = 0.0, []
    period, first = 2 * math.pi / 40, math.asin(0.5) / 40
    t = 0.0
    while True:
        ahead = math.ceil((where - first) / period + 1e-12) * period + first - where
        t, where = t + ahead, where + ahead + 0.5
        if t > 6.0:
            break
        exact.append(t)
    assert times(found) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("centre", [1.23, 3.3, 5.0, 9.2])
def test_a_short_pulse_over_a_slow_field_is_seen(centre):
    def pulse(t, z):
        return torch.exp(-(((t - centre) / 0.03) ** 2)) - 0.5

    found = cross(pulse, 10.0, field=lambda t, z: -0.1 * z, z=[1.0], solver=Dopri5())
    half = 0.03 * math.sqrt(math.log(2))
    assert times(found) == pytest.approx([centre - half, centre + half], abs=1e-9)


@pytest.mark.parametrize(("on", "t0"), [(8.0, 2.0), (1.0, 2.0), (1.0, 0.0)])
def test_a_schedule_that_jumps_each_day_is_met_each_day(on, t0):
    found = cross(lambda t, z: torch.where(t % 24 < on, 1.0, -1.0), 122.5, 1, t0)
    assert times(found) == pytest.approx([24.0, 48.0, 72.0, 96.0, 120.0], abs=1e-9)


def test_shallow_dips_are_all_found_and_those_that_do_not_reach_zero_are_not():
    for lift, n in ((1.0 - 1e-4, 4), (1.0 + 1e-4, 0)):
        assert cross(lambda t, z, lift=lift: torch.cos(5 * t) + lift, 2.5).n_events.tolist() == [n]


def test_where_crossings_may_have_been_missed_a_warning_says_when_and_what_helps():
    def hiss(t, z):
        return torch.sin(1e6 * t) + 0.999

    with pytest.warns(TsodeWarning, match=r"trigger 0 changes so fast, in row 0 from t = 0 on.*max_step="):
        cross(Trigger(hiss, terminal=True), 10.0, solver=RK4())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cross(hiss, 1e-5, 1, solver=RK4())


@pytest.mark.slow
def test_rows_with_surfaces_of_their_own_are_as_if_alone():
    speed = torch.tensor([1.0, 30.0, 200.0, 5.0], dtype=torch.float64)
    level = torch.tensor([0.2, 0.0, 0.9, -0.99], dtype=torch.float64)
    z = torch.tensor([[0.0], [0.3], [1.0], [0.7]], dtype=torch.float64)
    t0 = torch.tensor([0.0, 0.5, 0.01, 2.0], dtype=torch.float64)
    t1 = t0 + torch.tensor([9.0, 1.0, 0.2, 8.0], dtype=torch.float64)

    def solve(rows):
        swing = Trigger(lambda t, z: torch.sin(speed[rows] * (t + z[:, 0])) - level[rows], 1, lambda t, z: z + 0.01)
        step = Trigger(lambda t, z: torch.floor(2 * t) - 2 * t.detach().floor() - 0.5, 1)
        with torch.no_grad():
            return integrate_triggers(lambda t, z: -0.2 * z, z[rows], t0[rows], t1[rows], TIGHT, [swing, step])

    together = solve(slice(0, 4))
    assert together.n_events.unique().numel() > 1
    for row in range(4):
        alone = solve(slice(row, row + 1))
        n = int(alone.n_events)
        assert torch.equal(alone.event_times[0], together.event_times[row, :n])
        assert torch.equal(alone.event_index[0], together.event_index[row, :n])
        assert torch.equal(alone.z[0], together.z[row])


def test_a_surface_written_with_branches_or_numpy_is_sampled_point_by_point():
    def branches(t, z):
        return t - 1.0 if bool((t < 2.0).all()) else torch.from_numpy((t - 1.0).numpy())

    assert times(cross(branches, 3.0)) == pytest.approx([1.0], abs=1e-12)


# ---------------------------------------------------------------------------------------------- jumps and flat parts


@pytest.mark.parametrize(
    ("surface", "time"),
    [
        (lambda t, z: z[:, 0] > 1.0, 1.0),
        (lambda t, z: (z[:, 0] > 1.0).double() - 0.5, 1.0),
        (lambda t, z: torch.sign(z[:, 0] - 1.0), 1.0),
        (lambda t, z: torch.floor(z[:, 0]) - 1.5, 2.0),
        (lambda t, z: torch.relu(z[:, 0] - 1.0), 1.0),
        (lambda t, z: torch.relu(z[:, 0] - 2.0) - torch.relu(1.0 - z[:, 0]), 2.0),
        (lambda t, z: (t >= 1.7).long() - 0.5, 1.7),
    ],
    ids=["true or false", "half", "sign", "floor", "ramp", "flat between", "of time"],
)
@pytest.mark.parametrize("solver", [TIGHT, Dopri5(), RK4()], ids=["tight", "default", "one step"])
def test_steps_and_flat_surfaces_are_crossed_where_they_take_on_the_new_sign(surface, time, solver):
    found = cross(surface, 3.0, 1, solver=solver)
    assert times(found) == pytest.approx([time], abs=1e-9)


def test_a_step_sets_off_its_reset_each_time_and_gives_a_time_without_gradient():
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    step = Trigger(lambda t, z: z[:, 0] > 1.0, 1, lambda t, z: z - weight)
    t0 = torch.zeros(1, dtype=torch.float64)
    found = integrate_triggers(clock, t0[:, None], t0, t0 + 3.5, TIGHT, [step])
    torch.testing.assert_close(found.event_times.detach(), torch.tensor([[1.0, 2.0, 3.0]]).double(), rtol=0, atol=1e-9)
    assert found.is_grazing.all()
    (slope,) = torch.autograd.grad(found.z.sum(), weight)
    assert slope.item() == pytest.approx(-3.0)


def test_a_jump_that_does_not_pass_zero_is_no_event_and_no_alarm():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cross(lambda t, z: torch.where(t < 1.3, 1.0, 2.0), 4.0).n_events.tolist() == [0]


# ---------------------------------------------------------------------------------------------- touches and poles


@pytest.mark.parametrize("solver", [TIGHT, Dopri5(), RK4(max_step=0.1)], ids=["tight", "default", "rk4"])
@pytest.mark.parametrize("at", [1.0, 1 / 3, 2.2])
def test_a_touch_is_no_crossing_whatever_the_rounding_errors_say(solver, at):
    for surface in (
        lambda t, z: (t - at) ** 2,
        lambda t, z: t * t - 2 * at * t + at * at,
        lambda t, z: z[:, 0] ** 2 - 2 * at * z[:, 0] + at * at,
        lambda t, z: (z[:, 0] - at).abs(),
    ):
        assert cross(surface, 3.0, solver=solver).n_events.tolist() == [0]
    parabola = cross(
        lambda t, z: z[:, 0], 3.0, z=[at * at, -2 * at], solver=solver,
        field=lambda t, z: torch.stack([z[:, 1], 2.0 + 0 * z[:, 1]], dim=1),
    )  # fmt: skip
    assert parabola.n_events.tolist() == [0]


@pytest.mark.parametrize("depth", [1e-3, 1e-6, 1e-9, 1e-12])
def test_a_dip_deeper_than_rounding_errors_is_two_crossings(depth):
    found = cross(lambda t, z: (z[:, 0] - 1.0) ** 2 - depth, 3.0)
    assert times(found) == pytest.approx([1 - math.sqrt(depth), 1 + math.sqrt(depth)], abs=1e-9)


@pytest.mark.parametrize(
    ("surface", "expected"),
    [
        (lambda t, z: 1 / (t - 1), []),
        (lambda t, z: 1 / (z[:, 0] - 1) ** 3, []),
        (lambda t, z: 1 / (t - 1) ** 2, []),
        (lambda t, z: 1 / (t - 1) - 2, [1.5]),
        (lambda t, z: torch.tan(t + 1e-3), [math.pi - 1e-3]),
    ],
    ids=["odd", "cube", "even", "root behind", "tangent"],
)
def test_a_pole_is_no_crossing_and_hides_none(surface, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert times(cross(surface, 4.0)) == pytest.approx(expected, abs=1e-9)

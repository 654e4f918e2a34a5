"""State-triggered events against closed forms."""

import math

import pytest
import torch
from torch import Tensor, nn

from tsode.core.status import Status
from tsode.errors import ParameterError, ShapeError, SolverError, ZenoError
from tsode.numerics import RK4, SOLVERS, Dopri5, Euler, Midpoint, TorchDiffEq
from tsode.numerics.crossings import Crossings, integrate_triggers
from tsode.numerics.integrate import integrate
from tsode.numerics.stepwise import StepwiseSolver
from tsode.numerics.surfaces import Trigger

TIGHT = Dopri5(rtol=1e-10, atol=1e-12)
# Those that follow a parabola exactly.
EXACT = {
    name: made()
    for name, made in SOLVERS.items()
    if issubclass(made, StepwiseSolver) and made.field_type is object and made.order >= 2
} | {"tight": TIGHT, "rk4 in steps": RK4(max_step=0.05), "midpoint in steps": Midpoint(max_step=0.05)}
every_solver = pytest.mark.parametrize("solver", EXACT.values(), ids=EXACT)
# a ball dropped from 1 m, g = 9.81, restitution 0.8: t1 = sqrt(2 h / g), and each flight lasts 0.8 times the last
FALL = math.sqrt(2 / 9.81)
BOUNCES = [0.451523640985731, 1.1739614665629, 1.75191172702464]


def double(*values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def ball(g: float | Tensor = 9.81, restitution: float | Tensor = 0.8, floor: float | Tensor = 0.0):
    """Field and event of a ball (height, velocity) over a floor."""

    def field(t, z):
        return torch.stack([z[:, 1], torch.zeros_like(z[:, 1]) - g], dim=1)

    def bounce(t, z):
        return torch.stack([z[:, 0], -restitution * z[:, 1]], dim=1)

    return field, Trigger(lambda t, z: z[:, 0] - floor, direction=-1, reset=bounce)


def drop(height: object, t1: float, solver=TIGHT, velocity: float = 0.0, **how) -> Crossings:
    h = torch.as_tensor(height, dtype=torch.float64).reshape(-1)
    field, event = ball()
    t0 = torch.zeros_like(h)
    return integrate_triggers(field, torch.stack([h, t0 + velocity], dim=1), t0, t0 + t1, solver, [event], **how)


def clock(t: Tensor, z: Tensor) -> Tensor:
    """The field of states that run at rate 1."""
    return torch.ones_like(z)


def circle(t: Tensor, z: Tensor) -> Tensor:
    """``z = (sin t, cos t)`` from (0, 1)."""
    return torch.stack([z[:, 1], -z[:, 0]], dim=1)


def start(*states: list[float], dtype=torch.float64) -> tuple[Tensor, Tensor]:
    z = torch.tensor(states, dtype=dtype)
    return z, torch.zeros(len(z), dtype=torch.float64)


# ---------------------------------------------------------------------------------------------- times and states


@every_solver
def test_a_ball_bounces_at_the_known_times(solver):
    found = drop(1.0, 1.9, solver, times=double([1.5]))
    torch.testing.assert_close(found.event_times, double(BOUNCES), rtol=0, atol=1e-12)
    assert found.event_index.tolist() == [[0, 0, 0]]
    assert found.n_events.tolist() == [3]
    assert not found.is_grazing.any()
    assert found.states[0, 0, 0].item() == pytest.approx(0.402862021820298, abs=1e-12)
    torch.testing.assert_close(found.z_plus[..., 1], -0.8 * found.z_minus[..., 1], rtol=0, atol=0)
    torch.testing.assert_close(found.z_minus[0, 0, 1], torch.tensor(-9.81 * FALL).double(), rtol=1e-7, atol=0)
    assert found.checked() is found


def test_the_derivatives_of_the_first_bounce_are_the_known_ones():
    h, g = double(1.0).requires_grad_(), torch.tensor(9.81, dtype=torch.float64, requires_grad=True)
    field, event = ball(g)
    found = integrate_triggers(field, torch.stack([h, 0 * h], dim=1), double(0.0), double(1.0), TIGHT, [event])
    by_h, by_g = torch.autograd.grad(found.event_times[0, 0], [h, g])
    assert by_h.item() == pytest.approx(0.225761820492865, rel=1e-10)
    assert by_g.item() == pytest.approx(-0.0230134373591096, rel=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_neuron_spikes_at_the_analytic_times(dtype):
    # dV/dt = (I - V) / tau from 0, spike at 1: period tau log(I / (I - 1)); refractory only in that V returns to 0
    current, tau = 1.6, 0.7
    period = tau * math.log(current / (current - 1))
    spike = Trigger(lambda t, z: z[:, 0] - 1, direction=1, reset=lambda t, z: torch.zeros_like(z))
    z, t0 = start([0.0], [0.0], dtype=dtype)
    t0 = double(0.0, 10.0)
    found = integrate_triggers(lambda t, z: (current - z) / tau, z, t0, t0 + 4.0, TIGHT if dtype == torch.float64
                             else Dopri5(rtol=1e-6, atol=1e-6), [spike])  # fmt: skip
    exact = t0[:, None] + period * torch.arange(1, 6, dtype=torch.float64)
    tolerance = 1e-9 if dtype == torch.float64 else 2e-5
    torch.testing.assert_close(found.event_times, exact.double(), rtol=0, atol=tolerance)
    assert found.z.dtype == dtype
    left = current * (1 - torch.exp(-(t0 + 4.0 - exact[:, -1]) / tau))
    torch.testing.assert_close(found.z[:, 0].double(), left.double(), rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_clock_fires_once_each_time_it_passes(dtype):
    z, t0 = start([0.3], [0.7], dtype=dtype)
    shift = double(0.01, 0.2)  # one for each row
    wave = Trigger(lambda t, z: torch.sin((t + shift) * 6 * math.pi), 1, lambda t, z: 0.5 * z)
    for solver in (RK4(max_step=0.125), Dopri5()):
        found = integrate_triggers(lambda t, z: -z, z, t0, t0 + 1.0, solver, [wave])
        assert found.n_events.tolist() == [3, 3]
        exact = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]).double() / 3 - shift[:, None]
        exact[1] = exact[1] + (exact[1, 0] < 0) / 3
        torch.testing.assert_close(found.event_times, exact, rtol=0, atol=1e-12 if dtype == torch.float64 else 1e-7)


def test_a_thermostat_switches_by_its_hysteresis():
    # mode 1: T -> 30 at rate 1; mode 0: T -> 10; switched off at 22 and on at 18
    def field(t, z):
        temperature, mode = z.unbind(dim=1)
        return torch.stack([10 + 20 * mode - temperature, torch.zeros_like(mode)], dim=1)

    def switched(mode):
        return lambda t, z: torch.stack([z[:, 0], torch.full_like(z[:, 1], mode)], dim=1)

    low = Trigger(lambda t, z: torch.where(z[:, 1] < 0.5, z[:, 0] - 18, 1.0), -1, switched(1.0))
    high = Trigger(lambda t, z: torch.where(z[:, 1] > 0.5, z[:, 0] - 22, -1.0), 1, switched(0.0))
    z, t0 = start([15.0, 1.0])
    found = integrate_triggers(field, z, t0, t0 + 2.0, TIGHT, [low, high])
    first, up, down = math.log(15 / 8), math.log(12 / 8), math.log(12 / 8)
    exact = [first + k * up for k in range(int((2 - first) / up) + 1)]
    assert up == down
    torch.testing.assert_close(found.event_times[0], double(*exact), rtol=0, atol=1e-9)
    assert found.event_index[0].tolist() == [1, 0, 1, 0][: len(exact)]


def test_a_pendulum_hits_a_wall_when_a_plain_solve_says_so():
    def field(t, z):
        return torch.stack([z[:, 1], -9.81 * z[:, 0].sin()], dim=1)

    wall = Trigger(lambda t, z: z[:, 0] + 0.2, direction=-1, reset=lambda t, z: z * double(1.0, -0.9))
    z, t0 = start([0.5, 0.0], [0.5, 0.0])
    found = integrate_triggers(field, z, t0, t0 + 1.0, TIGHT, [wall])
    at = found.event_times[:, 0]
    before = integrate(field, z, t0, at, Dopri5(rtol=1e-12, atol=1e-13))
    torch.testing.assert_close(before.z[:, 0], double(-0.2, -0.2), rtol=0, atol=1e-10)
    # energy: v^2 = 2 g (cos 0.2 - cos 0.5)
    speed = math.sqrt(2 * 9.81 * (math.cos(0.2) - math.cos(0.5)))
    torch.testing.assert_close(found.z_plus[:, 0, 1], double(0.9 * speed, 0.9 * speed), rtol=1e-9, atol=0)


@pytest.mark.parametrize("solver", [Euler(max_step=0.01), Euler()], ids=["short steps", "one step"])
def test_euler_steps_end_at_the_crossing_of_their_straight_line(solver):
    z, t0 = start([0.0])
    event = Trigger(lambda t, z: z[:, 0] - 0.3)
    found = integrate_triggers(lambda t, z: 2 * torch.ones_like(z), z, t0, t0 + 1.0, solver, [event])
    torch.testing.assert_close(found.event_times, double([0.15]), rtol=0, atol=1e-14)


@every_solver
def test_without_a_crossing_the_answer_is_that_of_integrate_bit_for_bit(solver):
    z, t0 = start([0.0, 1.0], [0.5, 0.5])
    t1 = double(3.0, 0.7)
    never = Trigger(lambda t, z: z[:, 0] - 9.0)
    found = integrate_triggers(circle, z, t0, t1, solver, [never])
    plain = integrate(circle, z, t0, t1, solver)
    assert torch.equal(found.z, plain.z)
    assert torch.equal(found.n_steps, plain.n_steps)
    assert torch.equal(found.t_end, t1)
    assert found.n_events.tolist() == [0, 0]
    assert found.event_times.shape == (2, 0)
    assert found.z_minus.shape == (2, 0, 2)


# ---------------------------------------------------------------------------------------------- inside a step


def test_two_crossings_inside_one_step_are_both_found():
    # one RK4 step over the flight: z = (height, velocity), surface at 0.9 of the top
    field, _ = ball()
    z, t0 = start([0.0, 5.0])
    surface = Trigger(lambda t, z: z[:, 0] - 1.2)
    found = integrate_triggers(field, z, t0, t0 + 1.0, RK4(), [surface])
    root = math.sqrt(25 - 2 * 9.81 * 1.2)
    torch.testing.assert_close(found.event_times, double([(5 - root) / 9.81, (5 + root) / 9.81]), rtol=0, atol=1e-12)


def test_a_dip_between_the_sampled_points_of_a_step_is_found():
    # below the surface for 2 sqrt(1e-6) of a step of length 1, between the quarters of the step
    z, t0 = start([0.0])
    dip = Trigger(lambda t, z: (z[:, 0] - 0.6) ** 2 - 1e-6)
    found = integrate_triggers(clock, z, t0, t0 + 1.0, RK4(), [dip])
    torch.testing.assert_close(found.event_times, double([0.599, 0.601]), rtol=0, atol=1e-10)


@pytest.mark.parametrize("solver", [RK4(max_step=2.0), TIGHT, RK4(n_steps=40)], ids=["long", "adaptive", "short"])
def test_all_zeros_of_a_sine_of_time_are_found_by_direction(solver):
    z, t0 = start([0.1])
    for direction, first, step in ((0, 1, 1), (-1, 1, 2), (1, 2, 2)):
        wave = Trigger(lambda t, z: torch.sin(t + z[:, 0]), direction)  # z = t, so sin 2 t
        found = integrate_triggers(clock, z, t0 + 0.1, t0 + 10.0, solver, [wave])
        exact = [0.5 * math.pi * k for k in range(first, 7, step)]
        torch.testing.assert_close(found.event_times[0], double(*exact), rtol=0, atol=1e-9)


def test_steps_that_end_on_the_surface_miss_nothing_and_count_once():
    z, t0 = start([0.0])
    event = Trigger(lambda t, z: z[:, 0] - 0.5)
    found = integrate_triggers(clock, z, t0, t0 + 1.0, RK4(max_step=0.25), [event])
    torch.testing.assert_close(found.event_times, double([0.5]), rtol=0, atol=1e-15)


# ---------------------------------------------------------------------------------------------- rows by themselves


def test_each_row_of_a_batch_is_as_if_alone():
    heights, t0 = double(1.0, 0.3, 2.0, 0.05), double(0.0, -5.0, 100.0, 0.25)
    t1 = t0 + double(1.9, 1.2, 0.1, 0.45)
    times = t0[:, None] + (t1 - t0)[:, None] * double(0.3, 0.9)
    field, event = ball()
    z = torch.stack([heights, 0.1 * heights], dim=1)
    together = integrate_triggers(field, z, t0, t1, TIGHT, [event], times=times)
    assert together.n_events.tolist() == [3, 4, 0, 7] or together.n_events.unique().numel() > 1
    for row in range(4):
        one = slice(row, row + 1)
        alone = integrate_triggers(field, z[one], t0[one], t1[one], TIGHT, [event], times=times[one])
        k = int(alone.n_events)
        assert torch.equal(alone.event_times, together.event_times[one, :k])
        assert torch.equal(alone.z, together.z[one])
        assert torch.equal(alone.states, together.states[one])
        assert (together.event_times[row, k:] == torch.inf).all()
        assert (together.event_index[row, k:] == -1).all()


def test_asking_for_states_changes_no_other_answer():
    plain = drop([1.0, 0.4], 1.9)
    asked = drop([1.0, 0.4], 1.9, times=double([0.1, 1.9, 0.7], [0.0, 1.0, 1.0]))
    for name in ("z", "event_times", "z_minus", "z_plus"):
        assert torch.equal(getattr(plain, name), getattr(asked, name))


@every_solver
def test_states_at_query_times_are_the_flight_between_the_bounces(solver):
    times = torch.linspace(0, 1.9, 39, dtype=torch.float64)[None]
    found = drop(1.0, 1.9, solver, times=times)
    flights = torch.cat([double(0.0), found.event_times[0]])
    speeds = torch.cat([double(0.0), found.z_plus[0, :, 1]])
    flight = torch.searchsorted(flights, times[0], right=True) - 1
    tau = times[0] - flights[flight]
    height = torch.where(flight == 0, 1.0, 0.0) + speeds[flight] * tau - 0.5 * 9.81 * tau**2
    torch.testing.assert_close(found.states[0, :, 0], height, rtol=0, atol=1e-12)


def test_a_query_at_an_event_has_a_left_and_a_right_limit():
    first = drop(1.0, 1.9)
    for side, name in (("left", "z_minus"), ("right", "z_plus")):
        found = drop(1.0, 1.9, times=first.event_times, side=side)
        torch.testing.assert_close(found.states, getattr(first, name), rtol=0, atol=1e-13)


def test_laying_out_steps_without_regard_to_the_end_changes_no_answer_at_an_earlier_time():
    times = double([0.3, 1.1], [0.1, 0.3], [0.2, 1.0])
    for solver in (TIGHT, RK4()):
        short = drop([1.0, 3.0, 0.4], 1.2, solver, times=times, query_step=0.25)
        long = drop([1.0, 3.0, 0.4], 1.9, solver, times=times, query_step=0.25)
        assert torch.equal(short.states, long.states)
        assert torch.equal(short.event_times[0, :2], long.event_times[0, :2])
        torch.testing.assert_close(short.z, drop([1.0, 3.0, 0.4], 1.2).z, rtol=0, atol=1e-12)


def test_a_row_of_length_zero_comes_back_bit_for_bit_and_meets_no_event():
    z, t0 = start([0.0, -1.0], [0.3, 0.7])
    field, event = ball()
    found = integrate_triggers(field, z, t0, t0, TIGHT, [event], times=t0[:, None])
    assert torch.equal(found.z, z)
    assert torch.equal(found.states[:, 0], z)
    assert found.n_events.tolist() == [0, 0]


def test_a_row_that_is_not_finite_or_blows_up_leaves_the_others_and_their_gradients_alone():
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    z, t0 = start([0.5], [float("nan")], [1.0])
    event = Trigger(lambda t, z: z[:, 0] - weight, direction=1, reset=lambda t, z: z - weight)
    t1 = double(1.5, 1.5, float("nan"))
    found = integrate_triggers(lambda t, z: weight * torch.ones_like(z), z, t0, t1, TIGHT, [event])
    assert found.status.tolist() == [Status.OK, Status.NON_FINITE, Status.NON_FINITE]
    torch.testing.assert_close(found.event_times[0], double(0.5, 1.5)[: found.event_times.shape[1]])
    (gradient,) = torch.autograd.grad(found.event_times[0, 0], weight)
    assert gradient.item() == pytest.approx(1 - 0.5)  # t = (w - 0.5) / w
    with pytest.raises(SolverError, match="row 1, 2 left the range"):
        found.checked()
    grows = Trigger(lambda t, z: z[:, 0] - 2.0, direction=1)
    z, t0 = start([0.1], [1.0])
    found = integrate_triggers(lambda t, z: z * z, z, t0, t0 + 2.0, Dopri5(rtol=1e-6), [grows])
    assert found.status[0] == Status.OK
    assert found.status[1] == Status.BLOW_UP
    assert found.event_times[1, 0].item() == pytest.approx(0.5, abs=1e-6)  # z = 1 / (1 - t)


# ---------------------------------------------------------------------------------------------- rules at the surface


def test_a_start_on_the_surface_with_outward_velocity_meets_the_event_on_its_return():
    found = drop(0.0, 1.5, velocity=5.0)
    torch.testing.assert_close(found.event_times, double([10 / 9.81]), rtol=0, atol=1e-12)


def test_a_start_on_the_surface_that_moves_in_the_direction_meets_the_event_at_once():
    found = drop(0.0, 0.5, velocity=-5.0)
    assert found.event_times.tolist() == [[0.0]]
    assert found.z_plus[0, 0].tolist() == [0.0, 4.0]
    assert found.z[0, 0].item() == pytest.approx(4 * 0.5 - 0.5 * 9.81 * 0.25)


def test_a_start_on_the_surface_without_a_direction_only_leaves_it():
    z, t0 = start([0.0, 1.0], [0.0, -1.0])
    event = Trigger(lambda t, z: z[:, 0])
    found = integrate_triggers(circle, z, t0, t0 + 4.0, TIGHT, [event])
    torch.testing.assert_close(found.event_times, double([math.pi], [math.pi]), rtol=0, atol=1e-9)


def test_a_start_at_rest_above_the_surface_that_later_moves_is_met():
    found = drop(0.0, 1.0, velocity=0.0)  # at rest on the floor: it can neither fall nor fly
    assert found.status.tolist() == [Status.ZENO]
    z, t0 = start([0.0, 0.0])
    lifted = integrate_triggers(
        lambda t, z: torch.stack([z[:, 1], 1.0 - 2.0 * t], dim=1), z, t0, t0 + 2.0, TIGHT, [ball()[1]]
    )
    # v = t - t^2, h = t^2 / 2 - t^3 / 3: back at 1.5
    torch.testing.assert_close(lifted.event_times, double([1.5]), rtol=0, atol=1e-8)


def test_an_event_without_reset_goes_through_and_happens_again_only_after_leaving():
    z, t0 = start([0.0, 1.0])
    both = Trigger(lambda t, z: z[:, 0] - 0.5)
    found = integrate_triggers(circle, z, t0, t0 + 7.0, TIGHT, [both])
    sixth = math.pi / 6
    torch.testing.assert_close(found.event_times, double([sixth, 5 * sixth, 13 * sixth]), rtol=0, atol=1e-9)
    assert torch.equal(found.z_minus, found.z_plus)
    plain = integrate(circle, z, t0, t0 + 7.0, TIGHT)
    torch.testing.assert_close(found.z, plain.z, rtol=0, atol=1e-8)


def test_a_reset_that_leaves_the_velocity_does_not_set_the_event_off_again():
    count = Trigger(lambda t, z: z[:, 0] - 0.5, 1, lambda t, z: z + double(0.0, 1.0))
    z, t0 = start([0.0, 0.0])
    found = integrate_triggers(lambda t, z: torch.ones_like(z) * double(1.0, 0.0), z, t0, t0 + 2.0, RK4(), [count])
    assert found.n_events.tolist() == [1]
    torch.testing.assert_close(found.z, double([2.0, 1.0]), rtol=1e-15, atol=0)


@every_solver
def test_events_at_the_same_time_happen_in_the_order_of_the_list(solver):
    double_it = Trigger(lambda t, z: z[:, 0] - 0.5, 1, lambda t, z: z * double(1.0, 2.0))
    add_one = Trigger(lambda t, z: 2 * z[:, 0] - 1.0, 1, lambda t, z: z + double(0.0, 1.0))
    z, t0 = start([0.0, 3.0])
    for events, expected in (((double_it, add_one), 7.0), ((add_one, double_it), 8.0)):
        found = integrate_triggers(
            lambda t, z: torch.ones_like(z) * double(1.0, 0.0), z, t0, t0 + 1.0, solver, list(events)
        )
        assert found.event_index.tolist() == [[0, 1]]
        torch.testing.assert_close(found.event_times, double([0.5, 0.5]), rtol=0, atol=1e-12)
        assert torch.equal(found.event_times[:, 0], found.event_times[:, 1])
        assert found.z[0, 1].item() == expected
        assert torch.equal(found.z_plus[:, 0], found.z_minus[:, 1])


def test_simultaneous_events_both_happen_although_the_first_turns_the_state_back():
    field, bounce = ball()
    count = Trigger(bounce.surface, -1, lambda t, z: z)
    z, t0 = start([1.0, 0.0])
    found = integrate_triggers(field, z, t0, t0 + 1.0, TIGHT, [bounce, count])
    assert found.event_index.tolist() == [[0, 1]]


def test_a_ball_that_meets_a_corner_turns_in_both_directions():
    # two walls, independent of one another, met at the same time
    def turned(k):
        return lambda t, z: torch.cat([z[:, :2], z[:, 2:] * double(*[-1.0 if i == k else 1.0 for i in range(2)])], 1)

    walls = [Trigger(lambda t, z, k=k: z[:, k] - 1.0, 1, turned(k)) for k in range(2)]
    z, t0 = start([0.3, 0.3, 0.9, 0.9])
    found = integrate_triggers(
        lambda t, z: torch.cat([z[:, 2:], torch.zeros_like(z[:, 2:])], 1), z, t0, t0 + 1.0, TIGHT, walls
    )
    assert found.event_index.tolist() == [[0, 1]]
    torch.testing.assert_close(found.z, double([0.8, 0.8, -0.9, -0.9]), rtol=0, atol=1e-12)


def test_a_terminal_event_ends_its_row_alone():
    field, bounce = ball()
    stop = Trigger(lambda t, z: z[:, 0] - 1.5, 1, terminal=True)
    z, t0 = start([0.0, 6.0], [0.0, 5.0])
    found = integrate_triggers(field, z, t0, t0 + 1.0, TIGHT, [bounce, stop], times=double([0.1, 0.9], [0.1, 0.9]))
    at = (6 - math.sqrt(36 - 2 * 9.81 * 1.5)) / 9.81
    torch.testing.assert_close(found.t_end, double(at, 1.0), rtol=0, atol=1e-12)
    assert found.status.tolist() == [Status.OK, Status.OK]
    assert found.z[0, 0].item() == pytest.approx(1.5, abs=1e-12)
    assert torch.equal(found.states[0, 1], found.z[0])  # the state stands still from there on
    assert found.n_events.tolist() == [1, 0]


# ---------------------------------------------------------------------------------------------- grazing and Zeno


def test_a_touch_too_flat_for_a_gradient_is_flagged_and_given_none():
    v = double(4.0, 4.0).requires_grad_()
    field, _ = ball()
    top = 16 / (2 * 9.81)
    ceiling = double(top - 1e-11, 0.5 * top)
    event = Trigger(lambda t, z: z[:, 0] - ceiling, 1)
    z = torch.stack([torch.zeros_like(v), v], dim=1)
    found = integrate_triggers(field, z, double(0.0, 0.0), double(0.6, 0.6), TIGHT, [event])
    assert found.is_grazing.tolist() == [[True], [False]]
    (gradient,) = torch.autograd.grad(found.event_times.sum() + found.z.sum(), v)
    assert gradient.isfinite().all()
    # 0.5 top is reached at t = (v - sqrt(v^2 - g top)) / g
    (by_v,) = torch.autograd.grad(integrate_triggers(field, torch.stack([0 * v, v], dim=1), double(0.0, 0.0),
                                  double(0.6, 0.6), TIGHT, [event]).event_times.sum(), v)  # fmt: skip
    assert by_v[0] == 0
    assert by_v[1].item() == pytest.approx((1 - 4 / math.sqrt(8)) / 9.81, rel=1e-8)


def test_a_touch_without_a_change_of_sign_is_no_event():
    z, t0 = start([0.0])
    for lift in (0.0, 1e-9):
        event = Trigger(lambda t, z, lift=lift: (z[:, 0] - 0.6) ** 2 + lift, -1)
        found = integrate_triggers(clock, z, t0, t0 + 1.0, RK4(), [event])
        assert found.n_events.tolist() == [0]


@pytest.mark.slow
@pytest.mark.parametrize("solver", [TIGHT, RK4(max_step=0.1), Dopri5()], ids=["tight", "rk4", "default"])
def test_accumulating_bounces_end_with_a_status_and_name_their_time(solver):
    limit = FALL * 1.8 / 0.2
    assert limit == pytest.approx(4.06371276887158, rel=1e-12)
    found = drop([1.0, 1.0, 40.0], 4.5, solver, times=double([4.2], [1.0], [1.0]))
    assert found.status.tolist() == [Status.ZENO, Status.ZENO, Status.OK]
    assert found.accumulation_time[:2].tolist() == pytest.approx([limit, limit], abs=1e-6)
    assert found.accumulation_time[2] == torch.inf
    torch.testing.assert_close(found.states[0, 0], found.z[0])
    assert found.z.isfinite().all()
    with pytest.raises(ZenoError, match=r"'b' \(events accumulate at t = 4\.06371"):
        found.checked(["a b c", "b", "c"])
    with pytest.raises(RuntimeError, match="terminal event"):
        found.checked()


def test_bounces_are_followed_up_to_a_hundredth_before_they_accumulate():
    found = drop(1.0, 4.05)
    assert found.status.tolist() == [Status.OK]
    flights = found.event_times[0].diff() / (2 * FALL)
    torch.testing.assert_close(flights, 0.8 ** torch.arange(1, len(flights) + 1).double(), rtol=1e-9, atol=0)


def test_a_single_precision_ball_does_not_fall_through_the_floor():
    field, event = ball()
    z, t0 = start([1.0, 0.0], dtype=torch.float32)
    found = integrate_triggers(field, z, t0, t0 + 4.5, Dopri5(rtol=1e-5, atol=1e-6), [event])
    assert found.status.tolist() == [Status.ZENO]
    assert found.accumulation_time.item() == pytest.approx(4.0637, abs=1e-3)
    torch.testing.assert_close(found.event_times[:, :3], double(BOUNCES), rtol=0, atol=1e-5)


def test_more_than_max_events_is_a_status_without_a_time_of_accumulation():
    z, t0 = start([0.0], [0.0])
    event = Trigger(lambda t, z: z[:, 0] - 1.0, 1, lambda t, z: z - 1.0)
    found = integrate_triggers(clock, z, t0, double(20.5, 5.5), RK4(), [event], max_events=10)
    assert found.status.tolist() == [Status.ZENO, Status.OK]
    assert found.accumulation_time.tolist() == [torch.inf, torch.inf]
    assert found.n_events.tolist() == [11, 5]
    with pytest.raises(ZenoError, match="row 0 met events without end"):
        found.checked()


# ---------------------------------------------------------------------------------------------- gradients


@pytest.mark.slow
@pytest.mark.parametrize(
    ("solver", "factor", "gradient"),
    [
        (TIGHT, 1.0, "backprop"),
        (RK4(), 1.0, "backprop"),
        (RK4(), 1.0, "checkpoint"),
        (Euler(max_step=0.1), 1.7, "backprop"),
    ],
    ids=["dopri5", "rk4", "rk4 checkpoint", "euler"],
)
def test_gradcheck_passes_through_three_bounces(solver, factor, gradient):
    def run(h, v, t0, g, restitution, floor):
        field, event = ball(g, restitution, floor)
        found = integrate_triggers(
            field, torch.stack([h, v], dim=1), t0, factor * double(1.9, 1.4), solver, [event], gradient=gradient,
            times=double([0.2, 1.7], [0.4, 1.3]),
        )  # fmt: skip
        assert (found.n_events >= 3).all()
        return found.event_times[:, :3], found.z, found.states, found.z_minus, found.z_plus

    inputs = [double(1.0, 0.4), double(0.0, 0.3), double(0.0, 0.1), double(9.81)[0], double(0.8)[0], double(0.02)[0]]
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(run, inputs, fast_mode=solver != RK4() or gradient == "checkpoint")


def test_sensitivity_across_an_event_is_the_saltation_matrix():
    # Hiskens and Pai 2000: S = R_z + (f_plus - R_z f_minus) n^T / (n . f_minus), for a curved surface and any reset
    def field(t, z):
        return torch.stack([z[:, 1], -z[:, 0] + 0.3 * z[:, 1]], dim=1)

    def reset(t, z):
        return torch.stack([z[:, 0] + 0.1 * z[:, 1] ** 2, -0.5 * z[:, 1]], dim=1)

    def fn(t, z):
        return z[:, 0] ** 2 + 0.5 * z[:, 1] - 0.7

    z = double([-0.3, 1.0]).requires_grad_()
    t0 = double(0.0)
    found = integrate_triggers(field, z, t0, double(0.7), TIGHT, [Trigger(fn, 1, reset)])
    assert found.n_events.tolist() == [1]
    at, before, after = found.event_times[0], found.z_minus[0].detach(), found.z_plus[0].detach()

    def flow(z, a, b):
        return integrate(field, z, a, b, TIGHT).z

    into = torch.autograd.functional.jacobian(lambda s: flow(s[None], t0, at.detach())[0], z[0].detach())
    out = torch.autograd.functional.jacobian(lambda s: flow(s[None], at.detach(), double(0.7))[0], after[0])
    jacobian = torch.autograd.functional.jacobian(lambda s: reset(None, s[None])[0], before[0])
    normal = torch.autograd.functional.jacobian(lambda s: fn(None, s[None])[0], before[0])
    f_minus, f_plus = field(None, before)[0], field(None, after)[0]
    saltation = jacobian + torch.outer(f_plus - jacobian @ f_minus, normal) / (normal @ f_minus)
    ours = torch.stack([torch.autograd.grad(found.z[0, k], z, retain_graph=True)[0][0] for k in range(2)])
    torch.testing.assert_close(ours, out @ saltation @ into, rtol=1e-7, atol=1e-9)

    def end(state):
        return integrate_triggers(field, state, t0, double(0.7), TIGHT, [Trigger(fn, 1, reset)]).z[0]

    step = 1e-5
    difference = torch.stack(
        [(end(z.detach() + step * e) - end(z.detach() - step * e)) / (2 * step) for e in torch.eye(2).double()], 1
    )
    torch.testing.assert_close(ours, difference, rtol=1e-7, atol=1e-8)


def test_modules_as_surface_and_reset_get_gradients():
    torch.manual_seed(0)

    class Wall(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 1)

        def forward(self, t, z):
            return self.linear(z)[:, 0]

    class Kick(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, t, z):
            return 0.1 * self.linear(z)

    wall, kick = Wall().double(), Kick().double()
    with torch.no_grad():
        wall.linear.weight[:], wall.linear.bias[:] = double(1.0, 0.2), -0.3
    z, t0 = start([0.0, 1.0], [1.0, 0.5])
    found = integrate_triggers(circle, z, t0, t0 + 3.0, RK4(max_step=0.5), [Trigger(wall, 0, kick)])
    assert (found.n_events > 0).all()
    loss = found.event_times[:, 0].sum() + found.z.square().sum()
    weights = [*wall.parameters(), *kick.parameters()]
    gradients = torch.autograd.grad(loss, weights)
    step = 1e-6
    for weight, gradient in zip(weights, gradients):
        shifted = []
        for sign in (1, -1):
            with torch.no_grad():
                weight.view(-1)[0] += sign * step
                moved = integrate_triggers(circle, z, t0, t0 + 3.0, RK4(max_step=0.5), [Trigger(wall, 0, kick)])
                shifted.append(moved.event_times[:, 0].sum() + moved.z.square().sum())
                weight.view(-1)[0] -= sign * step
        assert gradient.view(-1)[0].item() == pytest.approx(((shifted[0] - shifted[1]) / (2 * step)).item(), rel=1e-5)


def test_event_times_need_no_gradient_mode():
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = drop(1.0, 1.9)
        torch.testing.assert_close(found.event_times, double(BOUNCES), rtol=0, atol=1e-12)


# ---------------------------------------------------------------------------------------------- wrong input


def test_what_cannot_be_solved_is_refused():
    z, t0 = start([1.0, 0.0])
    field, event = ball()
    with pytest.raises(ParameterError, match=r"step by step, which TorchDiffEq does not: use for instance Dopri5"):
        integrate_triggers(field, z, t0, t0 + 1, TorchDiffEq(), [event])
    with pytest.raises(ParameterError, match="gradient='adjoint' is not offered"):
        integrate_triggers(field, z, t0, t0 + 1, TIGHT, [event], gradient="adjoint")
    with pytest.raises(ParameterError, match=r"row 0 goes from 0\.0 back to -1\.0: swap"):
        integrate_triggers(field, z, t0, t0 - 1, TIGHT, [event])
    with pytest.raises(ParameterError, match=r"row 0 asks for 2\.0 and runs from 0\.0 to 1\.0"):
        integrate_triggers(field, z, t0, t0 + 1, TIGHT, [event], times=double([0.5, 2.0]))
    with pytest.raises(ParameterError, match="give at least one Trigger, or call integrate"):
        integrate_triggers(field, z, t0, t0 + 1, TIGHT, [])
    with pytest.raises(ShapeError, match=r"surface of event 1 must return one number a row, shape \(1,\)"):
        integrate_triggers(field, z, t0, t0 + 1, TIGHT, [event, Trigger(lambda t, z: z)])
    with pytest.raises(ShapeError, match="`t1` has 2"):
        integrate_triggers(field, z, t0, double(1.0, 2.0), TIGHT, [event])
    for how, message in (({"side": "up"}, "'left' .before"), ({"tol": 0.0}, "share of a step"),
                         ({"max_events": 0}, "at least 1"), ({"query_step": 0.0}, "positive length")):  # fmt: skip
        with pytest.raises(ParameterError, match=message):
            integrate_triggers(field, z, t0, t0 + 1, TIGHT, [event], **how)


def test_events_out_of_range_are_refused():
    with pytest.raises(
        ParameterError, match=r"direction must be -1 .surface falls., 0 .both. or 1 .surface rises., but is 2"
    ):
        Trigger(lambda t, z: z[:, 0], direction=2)
    with pytest.raises(ParameterError, match="must be callable"):
        Trigger(3.0)


def test_the_old_name_of_a_surface_is_read_and_warns():
    def level(t, z):
        return z[:, 0]

    with pytest.warns(DeprecationWarning, match="fn= of Trigger is called surface= now"):
        assert Trigger(fn=level, direction=1) == Trigger(level, 1)

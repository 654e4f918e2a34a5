"""Reversible solvers: inverse steps, gradients by them, and what they do where a field decays."""

import math

import pytest
import torch

from tsode.core.status import Status
from tsode.errors import ParameterError, SolverError
from tsode.numerics import ALF, DampedALF, ReversibleHeun
from tsode.numerics.crossings import integrate_triggers
from tsode.numerics.gradients import Backprop, Reversible
from tsode.numerics.integrate import integrate
from tsode.numerics.surfaces import Trigger
from tsode.testing.convergence import convergence_order

every_method = pytest.mark.parametrize("made", [ALF, ReversibleHeun])


def numbers(values, requires_grad=False):
    return torch.tensor(values, dtype=torch.float64, requires_grad=requires_grad)


def decay(rate):
    return lambda t, z: -rate * z


def end_of(field, span, solver, gradient="backprop"):
    return integrate(field, numbers([[1.0]]), numbers([0.0]), numbers([span]), solver, gradient)


@every_method
def test_a_thousand_steps_are_taken_back_to_rounding(made):
    field = lambda t, z: torch.stack([z[:, 1], t.cos() - z[:, 0].sin()], dim=1)  # noqa: E731
    solver, start = made().carried(field, numbers([0.0]), numbers([[1.0, 0.2]]))
    dt, pair = numbers([0.02]), start
    for k in range(1000):
        pair = solver.step(field, numbers([0.02 * k]), dt, pair).z
    assert (pair - start).abs().max() > 0.1
    for k in reversed(range(1000)):
        pair = solver.inverse_step(field, numbers([0.02 * k]), dt, pair)
    torch.testing.assert_close(pair, start, rtol=0, atol=1e-11)


@pytest.mark.slow
@every_method
def test_steps_taken_back_give_the_gradient_of_backprop_over_many_steps(made):
    length, found = numbers(1.3, True), []
    pendulum = lambda t, z: torch.stack([z[:, 1], -z[:, 0].sin() / length], dim=1)  # noqa: E731
    for way in (Backprop(), Reversible()):
        z = numbers([[1.0, 0.2], [2.0, -0.1]], True)
        end = integrate(pendulum, z, numbers([0.0, 1.0]), numbers([20.0, 18.0]), made(n_steps=500), way).z
        found.append(torch.cat([x.flatten() for x in torch.autograd.grad(end.square().sum(), [z, length])]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-10, atol=1e-10)


@every_method
@pytest.mark.parametrize("max_step", [0.1, 0.02])
def test_a_decay_ends_in_a_status_that_names_what_helps(made, max_step):
    solution = end_of(decay(50.0), 10.0, made(max_step=max_step))
    assert solution.status.tolist() == [Status.UNSTABLE]
    assert solution.z.abs().max() < 100.0
    assert "Tsit5()" in Status.UNSTABLE.meaning
    assert "DampedALF()" in Status.UNSTABLE.meaning


@every_method
def test_a_copy_that_comes_apart_leaves_other_rows_alone(made):
    field = lambda t, z: torch.cat([-50.0 * z[:1], z[1:].cos()])  # noqa: E731
    solution = integrate(field, numbers([[1.0], [0.3]]), numbers([0.0, 0.0]), numbers([1.0, 1.0]), made(n_steps=10))
    alone = integrate(lambda t, z: z.cos(), numbers([[0.3]]), numbers([0.0]), numbers([1.0]), made(n_steps=10))
    assert solution.status.tolist() == [Status.UNSTABLE, Status.OK]
    assert torch.equal(solution.z[1], alone.z[0])


@every_method
@pytest.mark.parametrize("power", [1, 2, 3])
def test_a_state_that_starts_from_rest_goes_on(made, power):
    field = lambda t, z: (t**power)[:, None].expand_as(z)  # noqa: E731
    solution = integrate(field, numbers([[0.0]]), numbers([0.0]), numbers([2.0]), made(n_steps=100))
    assert solution.status.tolist() == [Status.OK]
    assert solution.z.item() == pytest.approx(2.0 ** (power + 1) / (power + 1), rel=1e-3)


def test_damping_makes_decays_stable_at_order_one():
    damped = DampedALF(max_step=0.1)
    assert damped.order == 1
    assert end_of(decay(1.0), 50.0, ALF(max_step=0.1)).status.tolist() == [Status.UNSTABLE]
    faded = end_of(decay(1.0), 50.0, damped)
    assert faded.status.tolist() == [Status.OK]
    assert abs(faded.z.item()) < 1e-20
    start = numbers([0.0])
    order, _ = convergence_order(
        DampedALF(), decay(1.0), numbers([[1.0]]), start, start + 1, lambda t: (-t).exp()[:, None]
    )
    assert order == pytest.approx(1.0, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("eta", [0.9, 0.7])
def test_decays_are_stable_up_to_the_rate_that_is_stated(eta):
    limit = 2.0 * (1.0 - eta) / (eta * 0.1)
    within, beyond = (end_of(decay(share * limit), 200.0, DampedALF(max_step=0.1, eta=eta)) for share in (0.95, 1.05))
    assert abs(within.z.item()) < 1e-10
    assert beyond.status.tolist() == [Status.UNSTABLE]


def test_a_gradient_that_lost_its_start_is_an_error_that_names_the_remedy():
    z = numbers([[1.0]], True)
    few, many = (
        integrate(decay(1.0), z, numbers([0.0]), numbers([2.0]), DampedALF(n_steps=n), "reversible") for n in (20, 400)
    )
    assert torch.autograd.grad(few.z.sum(), z)[0].item() == pytest.approx(math.exp(-2.0), rel=0.02)
    with pytest.raises(SolverError, match=r"cannot be taken back: row 0, .* use gradient='binomial'"):
        torch.autograd.grad(many.z.sum(), z)


@every_method
def test_events_are_found_where_they_happen(made):
    ground = Trigger(lambda t, z: z[:, 0], direction=-1, terminal=True)
    fall = lambda t, z: torch.stack([z[:, 1], torch.full_like(z[:, 1], -2.0)], dim=1)  # noqa: E731
    found = integrate_triggers(
        fall, numbers([[1.0, 0.0]]), numbers([0.0]), numbers([3.0]), made(max_step=0.07), [ground]
    )
    assert found.t_end.item() == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("eta", [0.5, 1.0, math.nan])
def test_dampings_out_of_range_are_refused(eta):
    with pytest.raises(ParameterError, match="eta must be in"):
        DampedALF(eta=eta)

"""Stiff fields: Rodas4 beside truth values, and Dopri5, which says that they are stiff."""

import pytest
import torch

from tsode.core.status import Status
from tsode.numerics import Dopri5, Rodas4
from tsode.numerics.integrate import integrate, integrate_to
from tsode.numerics.row_jacobian import linearise


def robertson(t, z):
    x, y, w = z.unbind(dim=1)
    first, second, third = 0.04 * x, 1e4 * y * w, 3e7 * y * y
    return torch.stack([second - first, first - second - third, third], dim=1)


def van_der_pol(mu):
    return lambda t, z: torch.stack([z[:, 1], mu * (1 - z[:, 0] ** 2) * z[:, 1] - z[:, 0]], dim=1)


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


START = numbers(0.0)
TRACES = Rodas4(rtol=1e-7, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("until", "truth"),
    [
        (40.0, (0.71582706872, 9.1855347646e-6, 0.28416374575)),
        (4e6, (5.168096e-4, 2.068294e-9, 0.99948319)),  # by this method at a tolerance of 1e-10
    ],
)
def test_robertsons_reaction_is_right_over_six_decades(until, truth):
    found = integrate(robertson, numbers([1.0, 0.0, 0.0]), START, START + until, TRACES)
    assert found.status.item() == Status.OK
    assert found.n_steps.item() < 600
    torch.testing.assert_close(found.z[0], numbers(*truth), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("mu", "period", "amplitude"),
    [(1, 6.663286859, 2.008619861), pytest.param(10, 19.078369567, 2.014285361, marks=pytest.mark.slow)],
)
def test_van_der_pols_oscillator_has_its_period_and_amplitude(mu, period, amplitude):
    solver = Rodas4(rtol=1e-8, atol=1e-10, max_steps=20_000)
    times = numbers([[0.0, period, 2 * period]])[0]
    crest = numbers([amplitude, 0.0])  # at its largest it stands still
    path = integrate_to(van_der_pol(mu), crest, START, times, solver).z[0]
    torch.testing.assert_close(path[:, 0], numbers(amplitude, amplitude, amplitude), rtol=1e-5, atol=0)


def test_a_stiff_row_costs_dopri5_all_its_steps_and_it_says_why():
    z = numbers([1.0, 0.0, 0.0], [0.0, 0.0, 1.0])
    found = integrate(
        robertson, z, numbers(0.0, 0.0), numbers(40.0, 40.0), Dopri5(rtol=1e-6, atol=1e-12, max_steps=300)
    )
    assert found.status.tolist() == [Status.STIFF, Status.OK]
    assert "Rodas4" in Status.STIFF.meaning


@pytest.mark.parametrize("rtol", [1e-4, 1e-8])
def test_many_periods_are_not_taken_for_stiffness(rtol):
    field = lambda t, z: torch.stack([z[:, 1], -z[:, 0] - 0.01 * z[:, 0] ** 3], dim=1)  # noqa: E731
    found = integrate(field, numbers([1.0, 0.0]), START, START + 1e4, Dopri5(rtol=rtol, atol=rtol, max_steps=100))
    assert found.status.item() == Status.MAX_STEPS


def test_what_has_faded_is_damped_in_one_step_of_any_length():
    step = Rodas4().step(lambda t, z: -1e12 * z, START, numbers(1.0), numbers([1.0]))
    assert step.z.abs().item() < 1e-9


def gradient(field_of, solver, until):
    rates = numbers(0.04, 1e4, 3e7).requires_grad_()
    z = numbers([1.0, 0.0, 0.0]).requires_grad_()
    end = integrate(field_of(rates), z, START, START + until, solver).z
    return torch.cat([x.flatten() for x in torch.autograd.grad(end[0, 0], [rates, z])]) * torch.cat([rates, z[0]])


@pytest.mark.slow
def test_gradients_of_a_stiff_solve_are_right():
    def field_of(rates):
        def field(t, z):
            x, y, w = z.unbind(dim=1)
            first, second, third = rates[0] * x, rates[1] * y * w, rates[2] * y * y
            return torch.stack([second - first, first - second - third, third], dim=1)

        return field

    exact = gradient(field_of, Dopri5(rtol=1e-10, atol=1e-15, max_steps=20_000), 0.3)
    torch.testing.assert_close(gradient(field_of, TRACES, 0.3), exact, rtol=1e-5, atol=1e-9)


def test_derivatives_of_a_state_at_rest_are_right():
    z = numbers([0.0]).requires_grad_()
    end = integrate(lambda t, z: z, z, START, START + 3.0, Rodas4()).z
    assert torch.autograd.grad(end.sum(), z)[0].item() == pytest.approx(torch.e**3, rel=1e-4)


def driven(t, z):
    return torch.stack([torch.sin(t) * z[:, 1], z[:, 0] * z[:, 1] - t], dim=1)


@pytest.mark.parametrize("wrap", [lambda f: f, torch.no_grad()], ids=["open", "closed"])
def test_a_field_is_linearised_whether_it_lets_gradients_through_or_not(wrap):
    t, z = numbers(0.3, 2.0), numbers([1.0, 2.0], [-0.5, 0.7])
    value, by_state, by_time = linearise(wrap(driven), t, z)
    torch.testing.assert_close(value, driven(t, z))
    zero, (x, y) = torch.zeros(2).double(), z.unbind(dim=1)
    torch.testing.assert_close(by_state, torch.stack([zero, t.sin(), y, x], dim=1).unflatten(1, (2, 2)))
    torch.testing.assert_close(by_time, torch.stack([t.cos() * y, zero - 1], dim=1))
    assert not by_state.requires_grad


def test_a_linearisation_is_differentiated_by_state_time_and_parameters():
    rate = numbers(0.7).requires_grad_()

    def slopes(t, z, rate):
        _, by_state, by_time = linearise(lambda t, z: rate * torch.sin(t)[:, None] * z**3, t, z)
        return by_state, by_time

    t, z = numbers(0.3).requires_grad_(), numbers([1.0, 0.5]).requires_grad_()
    assert torch.autograd.gradcheck(slopes, (t, z, rate))


def test_a_constant_field_has_no_slopes():
    value, by_state, by_time = linearise(lambda t, z: torch.ones_like(z), START, numbers([1.0, 2.0]))
    assert value.tolist() == [[1.0, 1.0]]
    assert not by_state.any()
    assert not by_time.any()

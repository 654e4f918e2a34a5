"""Solver that changes between an explicit and an implicit method: when it does, and that nothing is lost by it."""

import pytest
import torch

from tsode import part
from tsode.core.status import Status
from tsode.numerics import Dopri5, Rodas4, Switching
from tsode.numerics.crossings import integrate_triggers
from tsode.numerics.integrate import integrate, integrate_to
from tsode.numerics.surfaces import Trigger
from tsode.solve import TIGHT, solve


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


START = numbers(0.0)


def van_der_pol(mu):
    return lambda t, z: torch.stack([z[:, 1], mu * (1 - z[:, 0] ** 2) * z[:, 1] - z[:, 0]], dim=1)


def slow_and_one_fast(t, z):
    fast = -1e5 * (z[:, :1] - torch.cos(t)[:, None])
    return torch.cat([fast, 0.1 * torch.sin(z[:, 1:])], dim=1)


def test_a_decay_to_nothing_is_seen_to_be_stiff():
    found = integrate(lambda t, z: -2e5 * z, numbers([3e4]), START, START + 1.0, Switching())
    assert found.status.item() == Status.OK
    assert found.n_switches.item() == 1
    assert found.n_steps.item() < 200
    assert found.z.abs().item() < 1e-6


def test_one_fast_state_among_five_hundred_is_seen():
    z = torch.cat([numbers([1.0]), torch.linspace(-1, 1, 499, dtype=torch.float64)[None]], dim=1)
    found = integrate(slow_and_one_fast, z, START, START + 1.0, Switching())
    assert found.status.item() == Status.OK
    assert found.n_switches.item() == 1
    assert found.n_steps.item() < 150
    alone = integrate(lambda t, z: 0.1 * torch.sin(z), z[:, 1:], START, START + 1.0, Dopri5(rtol=1e-10, atol=1e-12))
    torch.testing.assert_close(found.z[:, 1:], alone.z, rtol=1e-6, atol=1e-7)
    assert found.z[0, 0].item() == pytest.approx(torch.cos(numbers(1.0)).item(), abs=1e-4)


def test_a_stiff_window_is_entered_and_left():
    def field(t, z):
        pace = 1 + 1e5 * torch.exp(-(((t - 3) / 0.3) ** 4))[:, None]
        return -pace * (z - torch.cos(3 * t)[:, None])

    found = integrate(field, numbers([1.0]), START, START + 8.0, Switching())
    assert found.n_switches.item() in (2, 4)  # at its edges either method will do
    assert found.n_steps.item() < 400
    assert found.z.item() == pytest.approx(-0.23101961, rel=1e-5)  # by scipy's Radau at a tolerance of 1e-10


@pytest.mark.slow
def test_a_limit_cycle_with_jumps_is_followed_through_them():
    found = integrate(van_der_pol(1000.0), numbers([2.0, 0.0]), START, START + 2000.0, Switching(max_steps=5000))
    assert found.status.item() == Status.OK
    assert found.n_steps.item() < 1000
    assert found.n_switches.item() >= 3
    # by scipy's Radau at a tolerance of 1e-10
    torch.testing.assert_close(found.z, numbers([1.70616773, -8.92809701e-4]), rtol=1e-3, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
def test_what_is_not_stiff_is_solved_as_by_the_explicit_method(rtol):
    field, z, end = van_der_pol(1.0), numbers([2.0, 0.0]), START + 15.0
    settings = {"rtol": rtol, "atol": rtol / 100, "max_steps": 20_000}
    found, explicit = (integrate(field, z, START, end, made(**settings)) for made in (Switching, Dopri5))
    assert found.n_switches.item() == 0
    assert torch.equal(found.z, explicit.z)


def test_paths_are_read_inside_the_steps_of_both_methods():
    times = torch.linspace(0, 700, 15, dtype=torch.float64)[None]
    settings = {"rtol": 1e-6, "atol": 1e-8}
    found, exact = (
        integrate_to(van_der_pol(1000.0), numbers([2.0, 0.0]), START, times, made(**settings))
        for made in (Switching, Rodas4)
    )
    torch.testing.assert_close(found.z[..., 0], exact.z[..., 0], rtol=1e-4, atol=1e-4)


def test_a_surface_is_met_by_steps_of_either_method():
    decay = lambda t, z: torch.cat([-1e6 * (z[:, :1] - z[:, 1:]), -z[:, 1:]], dim=1)  # noqa: E731
    event = Trigger(lambda t, z: z[:, 0] - 0.5, direction=-1)
    found = integrate_triggers(decay, numbers([1.0, 1.0]), START, START + 2.0, Switching(), [event])
    # behind the slow state by its rate over a million
    torch.testing.assert_close(found.event_times[0, 0].item(), 0.6931471805599453 + 1e-6, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_gradient_goes_through_both_methods():
    rate = numbers(1e5).requires_grad_()
    z = numbers([3.0, 1.0]).requires_grad_()

    def field(t, z):
        return torch.stack([-rate * (z[:, 0] - z[:, 1] ** 2), -0.5 * z[:, 1]], dim=1)

    end = integrate(field, z, START, START + 2.0, Switching(rtol=1e-8, atol=1e-11, max_steps=5000))
    assert end.n_switches.item() == 1
    (slope,) = torch.autograd.grad(end.z[0, 0], z)
    # z0 follows z1^2 = exp(-t) z1(0)^2, up to its rate over a hundred thousand
    torch.testing.assert_close(slope, numbers([0.0, 2 * torch.exp(numbers(-2.0)).item()]), rtol=2e-5, atol=1e-8)


def test_a_row_that_needs_too_many_steps_of_both_methods_says_so():
    found = integrate(van_der_pol(1000.0), numbers([2.0, 0.0]), START, START + 2000.0, Switching(max_steps=200))
    assert found.status.item() == Status.MAX_STEPS


def test_it_is_known_by_name_and_its_changes_are_in_the_answer_of_solve():
    decay = lambda t, z: -1e5 * z.sinh()  # noqa: E731  # were it linear it would be solved exactly
    for solver in ("auto", part("auto", rtol=1e-7), TIGHT):
        frame = solve(decay, {"x": 1.0}, [1.0], t0=0.0, solver=solver)
        assert frame["x"].item() == pytest.approx(0.0, abs=1e-8)
        assert frame.attrs["solver"]["n_switches"] == {0: 1}
        assert 20 < frame.attrs["solver"]["n_steps"][0] < 10_000


def test_a_stiff_stretch_of_few_long_steps_is_no_trial_in_vain():
    settings = {"rtol": 1e-4, "atol": 1e-4, "max_steps": 5000}
    found = integrate(van_der_pol(100.0), numbers([2.0, 0.0]), START, START + 300.0, Switching(**settings))
    assert found.status.item() == Status.OK
    assert found.n_steps.item() < 400  # Rodas4 alone: 223; once it was 1499

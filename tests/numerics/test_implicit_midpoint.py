"""Implicit midpoint rule: energies that are not separable, invariants, steps without a root."""

import math

import pytest
import torch

from tsode import part
from tsode.core.status import Status
from tsode.dynamics import Hamiltonian
from tsode.numerics import RK4, ImplicitMidpoint
from tsode.numerics.integrate import integrate, integrate_to

SOLVER = ImplicitMidpoint(max_step=0.05)


def numbers(values, requires_grad=False):
    return torch.tensor(values, dtype=torch.float64, requires_grad=requires_grad)


def mixed(x, theta):
    """An energy that is not the sum of one of q and one of p."""
    return 0.5 * (x.square() + 1.0).prod(dim=1)


class Mixed:
    """The field of that energy, written out."""

    def __call__(self, t, z):
        q, p = z.unbind(dim=1)
        return torch.stack([(q.square() + 1.0) * p, -(p.square() + 1.0) * q], dim=1)


@torch.no_grad()
def worst_errors(solver, n_steps, marks):
    z, t0 = numbers([[1.5, 0.0]]), numbers([0.0])
    times = t0[:, None] + 0.1 * torch.arange(1, n_steps + 1, dtype=torch.float64)
    states = integrate_to(Mixed(), z, t0, times, solver).z[0]
    errors = (mixed(states, None) - mixed(z, None)).abs()
    return [float(errors[:mark].max()) for mark in marks]


@pytest.mark.slow
def test_the_energy_of_a_field_that_is_not_separable_is_bounded_over_many_periods():
    # a period is about 4: six of them, and thirty
    early, late = worst_errors(ImplicitMidpoint(max_step=0.1), 1200, [240, 1200])
    assert late <= 1.01 * early
    drift = worst_errors(RK4(max_step=0.1), 1200, [240, 1200])
    assert drift[1] > 3.0 * drift[0]


@pytest.mark.slow
def test_the_energy_between_steps_is_kept_as_well_as_at_steps():
    z, t0 = numbers([[1.5, 0.0]]), numbers([0.0])
    at_steps = 0.05 * torch.arange(1, 201, dtype=torch.float64)[None]
    worst = []
    for times in (at_steps, (at_steps[..., None] - 0.05 * numbers([0.81, 0.5, 0.13])).flatten(1)):
        states = integrate_to(Mixed(), z, t0, times, SOLVER).z[0].detach()
        worst.append(float((mixed(states, None) - mixed(z, None)).abs().max()))
    assert worst[1] <= 1.01 * worst[0]


def test_one_step_is_a_canonical_map_at_random_weights():
    torch.manual_seed(0)
    field = Hamiltonian(4, width=8).double().requires_grad_(False)
    canonical = torch.zeros(4, 4, dtype=torch.float64)
    canonical[:2, 2:], canonical[2:, :2] = torch.eye(2), -torch.eye(2)
    for z in torch.randn(3, 4, dtype=torch.float64):
        end = lambda x: integrate(field, x[None], numbers([0.0]), numbers([0.3]), ImplicitMidpoint()).z[0]  # noqa: E731
        jacobian = torch.autograd.functional.jacobian(end, z)
        assert (jacobian - torch.eye(4)).abs().max() > 1e-3
        assert (jacobian.T @ canonical @ jacobian - canonical).abs().max() < 1e-12 * jacobian.norm() ** 2


def test_norms_are_kept_to_rounding():
    turn = lambda t, z: torch.stack([z[:, 1] * z[:, 2], z[:, 0] * z[:, 2], -2.0 * z[:, 0] * z[:, 1]], dim=1)  # noqa: E731
    z = numbers([[0.6, 0.5, 0.7]])
    end = integrate(turn, z, numbers([0.0]), numbers([20.0]), ImplicitMidpoint(n_steps=150)).z
    assert (end - z).abs().max() > 0.1
    assert end.norm().item() == pytest.approx(z.norm().item(), abs=1e-12)


def test_a_fast_decay_stays_bounded():
    solution = integrate(
        lambda t, z: -50.0 * z, numbers([[1.0]]), numbers([0.0]), numbers([10.0]), ImplicitMidpoint(100)
    )
    assert solution.status.tolist() == [Status.OK]
    assert abs(solution.z.item()) < 1e-10


def test_second_derivatives_are_right():
    rate, z = numbers([-0.7], True), numbers([[1.3]], True)
    n, t = 40, 1.0
    end = integrate(lambda t, x: rate * x, z, numbers([0.0]), numbers([t]), ImplicitMidpoint(n)).z
    (first,) = torch.autograd.grad(end.sum(), rate, create_graph=True)
    second = torch.autograd.grad(first.sum(), rate)[0].item()
    # the step's factor (1 + a) / (1 - a), a = rate t / 2n, to the power of n, times 1.3
    a, s = -0.7 * t / (2 * n), t / (2 * n)
    slope = 2.0 * n / (1.0 - a * a)  # of the logarithm by a
    value = 1.3 * ((1 + a) / (1 - a)) ** n
    assert first.item() == pytest.approx(value * slope * s, rel=1e-11)
    assert second == pytest.approx(value * (slope**2 + 4.0 * n * a / (1.0 - a * a) ** 2) * s**2, rel=1e-9)


def test_a_step_without_a_root_is_a_status_of_its_row_alone():
    field = lambda t, z: torch.cat([z[:1].square() + 1.0, -z[1:]])  # noqa: E731  # no middle beyond a step of sqrt(1)
    z, t0 = numbers([[1.0], [1.0]]), numbers([0.0, 0.0])
    solution = integrate(field, z, t0, t0 + 4.0, ImplicitMidpoint(n_steps=2))
    alone = integrate(lambda t, z: -z, z[1:], t0[1:], t0[1:] + 4.0, ImplicitMidpoint(n_steps=2))
    assert solution.status.tolist() == [Status.UNSOLVED, Status.OK]
    assert solution.z[0].item() == 1.0
    assert torch.equal(solution.z[1], alone.z[0])
    assert "Newton" in Status.UNSOLVED.meaning


@pytest.mark.slow
def test_steps_are_taken_back_for_their_gradient():
    found = []
    for gradient in ("backprop", "reversible", part("checkpoint", every=7)):
        z = numbers([[1.5, 0.0]], True)
        end = integrate(Mixed(), z, numbers([0.0]), numbers([4.0]), ImplicitMidpoint(n_steps=60), gradient).z
        found.append(torch.autograd.grad(end[0, 0], z)[0])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-9, atol=1e-9)
    assert math.isfinite(found[0].sum().item())

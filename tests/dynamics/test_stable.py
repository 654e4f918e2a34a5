"""Stable fields: Lyapunov functions at random weights, the equilibrium, and decay along solves."""

import pytest
import torch

from tests.dynamics.test_hamiltonian import T, at_random_weights, states_of_all_sizes
from tsode.dynamics import Stable
from tsode.errors import ParameterError
from tsode.evolutions.base import Solved
from tsode.nn.convex import ConvexPotential
from tsode.numerics import Dopri5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("n_static", [0, 2])
@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_promises_hold_at_ten_thousand_states_and_random_weights(dtype, n_static, rate):
    field = at_random_weights(Stable(4, n_static, rate=rate)).to(dtype)
    states = states_of_all_sizes(4, dtype)
    assert field(T, states).isfinite().all()
    for guarantee in field.check(states):
        assert guarantee.holds, str(guarantee)


def test_a_field_that_is_not_projected_is_found_out():
    field = at_random_weights(Stable(4))
    field.motion = lambda t, x, theta: field._free(x - field.equilibrium, theta)
    assert not field.check(states_of_all_sizes(4))[0].holds


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_lyapunov_function_is_convex_positive_and_has_the_slope_that_is_written_out(depth):
    potential = at_random_weights(ConvexPotential(3, 2, width=7, depth=depth).double())
    y, theta = torch.randn(200, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).split([3, 2], dim=1)
    at = y.clone().requires_grad_()
    (by_machine,) = torch.autograd.grad(potential(at, theta).sum(), at)
    torch.testing.assert_close(potential.value_and_slope(y, theta)[1], by_machine, rtol=1e-10, atol=1e-10)
    ends, middle = potential(y, theta) + potential(y.flip(0), theta), potential(0.5 * (y + y.flip(0)), theta)
    assert (2.0 * middle <= ends * (1 + 1e-12)).all()
    assert (potential(y, theta) > potential.least * y.square().sum(dim=1)).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("n_static", [0, 3])
def test_at_the_equilibrium_the_field_is_zero_to_the_bit_and_gradients_are_finite(dtype, n_static):
    torch.manual_seed(0)
    field = Stable(4 + n_static, n_static, width=13).to(dtype)
    with torch.no_grad():
        for weight in field.parameters():
            weight.copy_(torch.randn_like(weight))
    for n_rows in (1, 5):
        state = torch.cat(
            [field.equilibrium.detach().expand(n_rows, -1), torch.randn(n_rows, n_static).to(dtype)], dim=1
        )
        rate = field(T[:n_rows], state)
        assert torch.equal(rate, torch.zeros_like(rate))
        leaf = state.clone().requires_grad_()
        gradients = torch.autograd.grad(field(T[:n_rows], leaf).sum(), [leaf, *field.parameters()])
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_the_promise_holds_a_hair_from_the_equilibrium_in_single_precision():
    field = at_random_weights(Stable(4, rate=1.0)).float()
    y = 1e-20 * torch.randn(100, 4, generator=torch.Generator().manual_seed(1))
    field.equilibrium.zero_()
    slope = field.lyapunov.value_and_slope(y, y[:, 4:])[1]
    gained = (slope / slope.norm(dim=1, keepdim=True) * (field(T[:100], y) * 1e20)).sum(dim=1)
    assert (gained <= 1e-4 * (field(T[:100], y) * 1e20).norm(dim=1)).all()


def test_every_state_runs_to_the_equilibrium_at_the_rate_given_at_least():
    field = at_random_weights(Stable(3, rate=1.0, equilibrium=[0.5, -1.0, 2.0], width=8)).double()
    assert not isinstance(field.equilibrium, torch.nn.Parameter)
    z = 3.0 * torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    times = torch.linspace(0.0, 3.0, 61, dtype=torch.float64).expand(20, -1)
    states = Solved(field, Dopri5(rtol=1e-9, atol=1e-11, max_steps=20_000)).evolve_to(z, T[:20], times).z
    values = field.value(states.flatten(0, 1), states.new_zeros(20 * 61, 0)).reshape(20, 61)
    assert (values.diff(dim=1) < 0).all()
    assert (values <= values[:, :1] * torch.exp(-times) * (1 + 1e-5)).all()
    distance = (states[:, -1] - field.equilibrium).square().sum(dim=1)
    assert (distance <= values[:, 0] * torch.exp(torch.tensor(-3.0)) / field.lyapunov.least).all()


def test_the_value_of_a_row_does_not_depend_on_its_batch():
    field = at_random_weights(Stable(4)).double()
    z = torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    together = field.value(z, z[:, 4:])
    alone = torch.cat([field.value(row[None], row[None, 4:]) for row in z])
    torch.testing.assert_close(alone, together, rtol=1e-13, atol=0)


def test_mistakes_are_named():
    with pytest.raises(ParameterError, match="equilibrium has 2 numbers, but 3 coordinates move"):
        Stable(4, n_static=1, equilibrium=[0.0, 1.0])
    with pytest.raises(ParameterError, match="rate not negative"):
        Stable(4, rate=-1.0)

"""Hamiltonian fields: their energies, their gradients in every mode, known energies."""

import math

import pytest
import torch

from tests.helpers import solve
from tsode.dynamics import Hamiltonian, SeparableHamiltonian
from tsode.errors import ParameterError
from tsode.evolutions.base import Solved
from tsode.nn.potential import GivenPotential, Potential
from tsode.numerics import Leapfrog, Midpoint

T = torch.zeros(10_000, dtype=torch.float64)
every_field = pytest.mark.parametrize("made", [Hamiltonian, SeparableHamiltonian])


def at_random_weights(field, size=1.0):
    torch.manual_seed(0)
    for weight in field.parameters():
        weight.data.copy_(size * torch.randn_like(weight))
    return field.requires_grad_(False)


def states_of_all_sizes(n_state, dtype=torch.float64):
    states = torch.randn(10_000, n_state, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return (states * torch.logspace(-3, 3, 10_000, dtype=torch.float64)[:, None]).to(dtype)


@every_field
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
@pytest.mark.parametrize("n_positions", [1, 2, 10])
def test_the_energy_stands_still_at_ten_thousand_states_and_values_are_finite(made, dtype, rounding, n_positions):
    field = at_random_weights(made(2 * n_positions + 1, n_static=1)).to(dtype)
    states = states_of_all_sizes(field.n_state, dtype)
    assert field(T, states).isfinite().all()
    (energy,) = field.check(states)
    assert energy.measured < rounding
    assert energy.holds


@every_field
def test_a_field_that_breaks_its_promise_is_found_out(made):
    field = at_random_weights(made(4))
    field.potential.slope = lambda x, theta: 1.001 * x
    (energy,) = field.check(states_of_all_sizes(4))
    assert not energy.holds


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_gradient_written_out_is_that_of_the_potential(depth):
    potential = at_random_weights(Potential(3, 2, width=7, depth=depth).double())
    x, theta = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).split([3, 2], dim=1)
    by_machine = GivenPotential(potential).slope(x, theta)
    torch.testing.assert_close(potential.slope(x, theta), by_machine, rtol=1e-12, atol=1e-12)


@every_field
@pytest.mark.parametrize("is_given", [False, True])
def test_forecasts_are_the_same_bits_with_gradients_without_and_in_inference_mode(made, is_given):
    torch.manual_seed(0)
    field = made(4).double()
    if is_given:
        given = {"given": field.energy} if made is Hamiltonian else {"potential": field.potential}
        field = made(4, **given).double()
    z, t = torch.randn(3, 4, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    evolution = Solved(field, Midpoint(n_steps=3))
    recorded = evolution.evolve(z, t, t + 1).z
    assert recorded.requires_grad
    for silent in (torch.no_grad, torch.inference_mode):
        with silent():
            assert torch.equal(evolution.evolve(z, t, t + 1).z, recorded)


@every_field
@pytest.mark.parametrize("is_given", [False, True])
def test_second_derivatives_through_a_solve_are_right(made, is_given):
    torch.manual_seed(0)
    field = made(2, width=4).double()
    if is_given:
        function = lambda x, theta: (1.0 - x.cos()).sum(dim=1)  # noqa: E731
        field = made(2, **({"given": function} if made is Hamiltonian else {"potential": function})).double()
    z, t = torch.randn(2, 2, dtype=torch.float64, requires_grad=True), torch.zeros(2, dtype=torch.float64)
    evolution = Solved(field, Midpoint(n_steps=2))
    assert torch.autograd.gradgradcheck(lambda state: evolution.evolve(state, t, t + 0.5).z, (z,))


@every_field
def test_checkpoints_give_the_same_gradient(made):
    torch.manual_seed(0)
    field, z = made(4).double(), torch.randn(3, 4, dtype=torch.float64)
    t, gradients = torch.zeros(3, dtype=torch.float64), []
    for gradient in ("backprop", "checkpoint"):
        loss = Solved(field, Midpoint(n_steps=3), gradient).evolve(z, t, t + 1).z.square().sum()
        gradients.append(torch.autograd.grad(loss, list(field.parameters())))
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


def test_orbits_stay_bounded_at_random_weights():
    field = at_random_weights(SeparableHamiltonian(4, width=8).double())
    z = torch.randn(20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    least = min(float(part.root_stiffness.square().min()) for part in (field.kinetic, field.potential))
    perceptrons = float(field.kinetic.weights.abs().sum() + field.potential.weights.abs().sum())
    bound = (2.0 / least * (field.energies(z) + perceptrons)).sqrt()  # from the least that the energy can be
    end = solve(field, z, 50.0, solver=Leapfrog(max_step=0.05))
    assert (end.norm(dim=1) <= 1.01 * bound).all()


def test_a_module_may_be_the_energy_and_its_weights_are_learned():
    class Oscillator(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.omega = torch.nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

        def forward(self, x, theta):
            return 0.5 * self.omega * x.square().sum(dim=1)

    field = Hamiltonian(2, given=Oscillator())
    z = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    expected = torch.tensor([[math.cos(0.6), -math.sin(0.6)]], dtype=torch.float64)
    torch.testing.assert_close(solve(field, z, 0.3), expected, rtol=1e-8, atol=1e-8)
    assert [name for name, _ in field.named_parameters()] == ["potential.function.omega"]


@every_field
def test_an_odd_number_of_moving_coordinates_is_named(made):
    with pytest.raises(ParameterError, match="n_state=4 less n_static=1 must be even"):
        made(4, n_static=1)

"""Choice of the way to the gradient."""

import pytest
import torch
from torch import nn

from tests.numerics.gradients.problems import FINE, STEPS, lotka_volterra, tensor
from tsode.errors import ParameterError
from tsode.numerics import TorchDiffEq
from tsode.numerics.gradients import Auto, Backprop, Binomial, Checkpoint, Forward
from tsode.numerics.integrate import integrate, integrate_to


def chosen(field, d, memory, solver=STEPS):
    z, start = torch.ones(1, d, dtype=torch.float64, requires_grad=True), tensor([0.0])
    return integrate(field, z, start, start + 2, solver, Auto(memory)).gradient


@pytest.mark.slow
@pytest.mark.parametrize("solver", [STEPS, FINE], ids=["fixed", "adaptive"])
def test_the_way_is_chosen_by_memory_and_the_number_of_parameters(solver):
    rates = tensor([1.5, 1.0, 3.0, 1.0], True)
    assert chosen(lotka_volterra(rates), 2, 1e9, solver).way == Backprop()
    few = chosen(lotka_volterra(rates), 2, 1e3, solver)
    assert few.way == Forward()
    assert "6 numbers to differentiate by" in str(few)
    net = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)).double()
    many = chosen(lambda t, z: net(z), 8, 2e4, solver)
    assert many.way == Checkpoint()
    assert "steps keep" in many.why
    assert chosen(lambda t, z: net(z), 8, 100, solver).way == Binomial()


def test_what_is_chosen_gives_the_gradient():
    rates, found = tensor([1.5, 1.0, 3.0, 1.0], True), []
    z, start = tensor([[1.0, 1.0]]), tensor([0.0])
    for gradient in ("backprop", Auto(1e3), "auto"):
        states = integrate_to(lotka_volterra(rates), z, start, start[:, None] + 1, STEPS, gradient).z
        found.append(torch.autograd.grad(states.sum(), rates)[0])
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[2], found[0], rtol=1e-12, atol=1e-12)


def test_solvers_of_others_and_solves_without_derivatives_are_left_to_backprop():
    assert "does not go step by step" in chosen(lambda t, z: -z, 1, 1.0, TorchDiffEq()).why
    with torch.no_grad():
        assert "no derivatives" in chosen(lambda t, z: -z, 1, 1.0).why


def test_a_bound_on_memory_is_positive():
    with pytest.raises(ParameterError, match="memory must be a positive number of bytes"):
        Auto(0.0)

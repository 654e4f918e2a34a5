import copy
import pickle

import pytest
import torch

from tsode.core.status import Status
from tsode.dynamics import GRUODE, LinearDynamics
from tsode.errors import ParameterError
from tsode.evolutions.base import Evolution, Solved
from tsode.numerics import RK4, Dopri5, ExponentialEuler
from tsode.numerics.integrate import integrate

T0 = torch.tensor([0.0, 10.0], dtype=torch.float64)
T1 = torch.tensor([1.0, 9.5], dtype=torch.float64)
TIMES = T0[:, None] + torch.tensor([0.9, -0.4, 0.0], dtype=torch.float64)


@pytest.fixture
def field():
    torch.manual_seed(0)
    return LinearDynamics(3).double()


@pytest.fixture
def z():
    return torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_evolve_is_the_solution_of_the_field(field, z):
    evolved = Solved(field, RK4(n_steps=4)).evolve(z, T0, T1)
    assert torch.equal(evolved.z, integrate(field, z, T0, T1, RK4(n_steps=4)).z)
    exact = torch.einsum("bij,bj->bi", torch.linalg.matrix_exp((T1 - T0)[:, None, None] * field.matrix), z)
    torch.testing.assert_close(evolved.z, exact, rtol=1e-6, atol=1e-6)


def test_evolve_to_agrees_with_evolving_to_each_time(field, z):
    evolution = Solved(field, Dopri5(rtol=1e-9, atol=1e-9))
    inside = evolution.evolve_to(z, T0, TIMES)
    one_by_one = Evolution.evolve_to(evolution, z, T0, TIMES)
    torch.testing.assert_close(inside.z, one_by_one.z, rtol=1e-7, atol=1e-7)


def test_query_step_sets_the_accuracy_of_queries(field, z):
    exact = Solved(field, Dopri5(rtol=1e-10, atol=1e-12)).evolve_to(z, T0, TIMES).z
    coarse, fine = [
        (Solved(field, RK4(), query_step=step).evolve_to(z, T0, TIMES).z - exact).abs().max() for step in (1.0, 0.1)
    ]
    assert fine < 1e-3 * coarse


def test_there_is_no_cost_and_all_is_well(field, z):
    evolution = Solved(field, RK4())
    assert evolution.runs_backward
    assert evolution.n_state == 3
    for evolved, shape in ((evolution.evolve(z, T0, T1), (2,)), (evolution.evolve_to(z, T0, TIMES), (2, 3))):
        assert torch.equal(evolved.cost, torch.zeros(shape, dtype=torch.float64))
        assert evolved.status.tolist() == [Status.OK] * 2


def test_checkpoints_give_the_same_gradient(field, z):
    gradients = []
    for gradient in ("backprop", "checkpoint"):
        evolution = Solved(copy.deepcopy(field), RK4(n_steps=3), gradient=gradient)
        evolution.evolve(z, T0, T1).z.square().sum().backward()
        gradients.append([weight.grad for weight in evolution.parameters()])
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_weights_of_the_field_are_weights_of_the_evolution(field, z):
    evolution = Solved(field, RK4())
    assert {id(p) for p in evolution.parameters()} == {id(p) for p in field.parameters()}
    again = pickle.loads(pickle.dumps(evolution))
    assert torch.equal(again.evolve(z, T0, T1).z, evolution.evolve(z, T0, T1).z)


def test_an_exponential_step_reaches_through_the_module(z):
    evolution = Solved(GRUODE(3).double(), ExponentialEuler())
    assert evolution.evolve(z, T0, T0 + 1e6).z.abs().max() < 10


def test_a_gradient_the_solver_does_not_offer_is_refused_at_once(field):
    with pytest.raises(ParameterError, match="'reversible' needs steps that can be taken back, which RK4"):
        Solved(field, RK4(), gradient="reversible")

"""What every vector field promises, checked on all of them."""

import pickle

import pytest
import torch

from tests.helpers import solve
from tsode.dynamics import DYNAMICS
from tsode.dynamics.base import Relaxing
from tsode.numerics import RK4

every_dynamics = pytest.mark.parametrize("name", DYNAMICS)
T = torch.tensor([0.0, 1.5, -2.0, 7.0], dtype=torch.float64)


def make(name, dtype=torch.float64):
    torch.manual_seed(0)
    return DYNAMICS[name](n_state=3).to(dtype)


@pytest.fixture
def z():
    return torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@every_dynamics
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_drift_has_shape_and_dtype_of_the_state(name, dtype, z):
    rate = make(name, dtype)(T, z.to(dtype))
    assert (rate.shape, rate.dtype) == (z.shape, dtype)
    assert rate.isfinite().all()


@every_dynamics
def test_rows_do_not_see_each_other(name, z):
    dynamics = make(name)
    order = torch.tensor([2, 0, 3, 1])
    together = dynamics(T, z)
    torch.testing.assert_close(dynamics(T[order], z[order]), together[order], rtol=1e-12, atol=1e-12)
    for row in range(4):
        one = slice(row, row + 1)
        torch.testing.assert_close(dynamics(T[one], z[one]), together[one], rtol=1e-12, atol=1e-12)


@every_dynamics
def test_an_autonomous_field_does_not_read_the_time(name, z):
    dynamics = make(name)
    if dynamics.is_autonomous:
        assert torch.equal(dynamics(T, z), dynamics(T + 3, z))


@every_dynamics
def test_relaxation_gives_the_drift(name, z):
    dynamics = make(name)
    if isinstance(dynamics, Relaxing):
        rate, target = dynamics.relaxation(T, z)
        assert rate.shape == target.shape == z.shape
        torch.testing.assert_close(rate * (target - z), dynamics(T, z))


@every_dynamics
def test_every_weight_has_a_finite_gradient_through_a_solve(name, z):
    dynamics = make(name)
    with torch.no_grad():
        for weight in dynamics.parameters():  # a layer that starts at zero hides those below it
            weight.add_(0.1 * torch.randn_like(weight))
    solve(dynamics, z, 0.8, solver=RK4(n_steps=3)).square().sum().backward()
    for weight in dynamics.parameters():
        assert weight.grad.isfinite().all()
        assert weight.grad.abs().max() > 0


@every_dynamics
def test_gradient_of_the_drift_is_right(name, z):
    dynamics = make(name)
    inputs = (z.requires_grad_(), *dynamics.parameters())
    assert torch.autograd.gradcheck(lambda *_: dynamics(T, z), inputs, fast_mode=True)


@every_dynamics
def test_a_long_solve_from_the_initial_weights_stays_finite(name, z):
    assert solve(make(name), z, 10.0).abs().max() < 100


@every_dynamics
def test_dynamics_survive_pickling_and_a_state_dict(name, z):
    dynamics = make(name)
    other = DYNAMICS[name](n_state=3).double()
    other.load_state_dict(dynamics.state_dict())
    assert torch.equal(pickle.loads(pickle.dumps(dynamics))(T, z), dynamics(T, z))
    assert torch.equal(other(T, z), dynamics(T, z))

import math

import pytest
import torch

from tests.helpers import solve
from tsode.dynamics import GRUODE, MeanReverting, MLPDynamics
from tsode.errors import ParameterError
from tsode.numerics import Euler, ExponentialEuler, Midpoint


@pytest.fixture
def gru():
    torch.manual_seed(0)
    return GRUODE(4).double().requires_grad_(False)


@pytest.fixture
def z0():
    return torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_error_falls_with_order_one_and_is_below_that_of_euler(gru, z0):
    exact = solve(gru, z0, 1.0)
    coarse, fine = [(solve(gru, z0, 1.0, solver=ExponentialEuler(n_steps=n)) - exact).abs().max() for n in (32, 64)]
    assert math.log2(coarse / fine) == pytest.approx(1, abs=0.15)
    assert fine < (solve(gru, z0, 1.0, solver=Euler(n_steps=64)) - exact).abs().max()


def test_one_step_is_exact_for_a_constant_rate_and_level(z0):
    field = MeanReverting(4).double().requires_grad_(False)
    field.level.copy_(torch.tensor([0.0, 1.0, -2.0, 3.0]))
    field.log_rate.copy_(torch.tensor([-3.0, 0.0, 1.0, 4.0]))
    expected = field.level + (z0 - field.level) * torch.exp(-field.log_rate.exp() * 0.7)
    torch.testing.assert_close(solve(field, z0, 0.7, solver=ExponentialEuler()), expected, rtol=1e-12, atol=1e-12)


def test_long_steps_stay_between_the_state_and_the_target(gru):
    z0 = torch.tensor([[0.9, -0.9, 0.1, 0.5]], dtype=torch.float64)
    assert solve(gru, z0, 1e3, solver=ExponentialEuler()).abs().max() <= 1
    assert solve(gru, z0, 1e3, solver=Midpoint()).abs().max() > 10


def test_a_field_that_does_not_relax_is_refused(z0):
    with pytest.raises(ParameterError, match=r"needs a RelaxingField, .*relaxation, which MLPDynamics has not"):
        solve(MLPDynamics(4).double(), z0, 1.0, solver=ExponentialEuler())

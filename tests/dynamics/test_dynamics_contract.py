"""What every vector field promises, checked on all of them."""

import pytest
import torch

from tests.helpers import solve
from tsode.dynamics import DYNAMICS
from tsode.numerics import Dopri5
from tsode.testing import check_dynamics

every_dynamics = pytest.mark.parametrize("name", DYNAMICS)


@every_dynamics
def test_dynamics_keep_the_contract(name):
    torch.manual_seed(0)
    check_dynamics(DYNAMICS[name](n_state=4))


@every_dynamics
def test_a_long_solve_from_the_initial_weights_stays_small(name):
    torch.manual_seed(0)
    z = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert solve(DYNAMICS[name](n_state=4).double(), z, 10.0, solver=Dopri5(rtol=1e-4, atol=1e-4)).abs().max() < 100

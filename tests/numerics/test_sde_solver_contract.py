"""What every solver of stochastic equations promises, checked on all of them."""

import pytest
import torch

from tests.numerics.sde_systems import SDE_SYSTEMS, StratonovichGrowth
from tests.numerics.solver_settings import every_setting
from tsode.core.status import Status
from tsode.dynamics import NeuralSDE
from tsode.errors import ParameterError, ShapeError, UnknownNameError
from tsode.numerics import SDE_SOLVERS, EulerMaruyama, Milstein, TorchSDE
from tsode.numerics.brownian import BrownianPath
from tsode.numerics.sde import integrate_sde, integrate_sde_to
from tsode.testing import check_sde_solver

T0 = torch.tensor([0.0, 2.0, -1.0, 5.0, 0.3], dtype=torch.float64)
T1 = torch.tensor([0.7, 2.9, -1.0, 5.5, 0.31], dtype=torch.float64)  # the third is empty
TIMES = T0[:, None] + torch.tensor([0.4, 0.1, 0.0, 0.93], dtype=torch.float64)


@pytest.fixture
def sde():
    torch.manual_seed(0)
    return NeuralSDE(3, width=8).double()


@pytest.fixture
def z():
    return torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def paths(rows=None):
    """Five paths from `T0`, or those of some rows."""
    drawn = BrownianPath.draw(torch.Generator().manual_seed(2), 5, 3, 6.0)
    rows = torch.arange(5) if rows is None else rows
    return drawn.starting_at(T0[rows], rows)


@pytest.mark.slow
@every_setting(SDE_SOLVERS)
def test_solvers_keep_the_contract(solver):
    check_sde_solver(solver)


def test_coordinates_past_the_last_column_of_noise_have_none(z):
    sde = SDE_SYSTEMS["stratonovich"].sde
    narrow = BrownianPath.draw(torch.Generator().manual_seed(2), 5, 1, 6.0).starting_at(T0)
    end = integrate_sde(sde, z, T0, T1, EulerMaruyama(n_steps=1), narrow).z[:, 1:]
    dt = (T1 - T0)[:, None]
    # One step of Euler-Maruyama without noise, with the correction of Stratonovich in its drift.
    torch.testing.assert_close(end, (z * (1 + (sde.growth + 0.5 * sde.sigma**2) * dt))[:, 1:])


@pytest.mark.parametrize("solver", [EulerMaruyama(), Milstein(n_steps=3)])
def test_rows_that_need_too_many_steps_say_so(solver, sde, z):
    few = type(solver)(max_step=0.01, max_steps=5)
    assert integrate_sde(sde, z, T0, T1, few, paths()).status.tolist() == [Status.MAX_STEPS] * 2 + [0, 1, 0]


def test_mistakes_at_the_door_are_named(sde, z):
    with pytest.raises(ShapeError, match="`t1` has 2 on axis 'b'"):
        integrate_sde(sde, z, T0, T1[:2], Milstein(), paths())
    with pytest.raises(ParameterError, match="does not solve stratonovich equations such as StratonovichGrowth"):
        integrate_sde(StratonovichGrowth(3), z, T0, T1, TorchSDE("euler"), paths())
    with pytest.raises(ParameterError, match="query_step must be a positive length"):
        integrate_sde_to(sde, z, T0, TIMES, Milstein(), paths(), query_step=0.0)
    with pytest.raises(UnknownNameError, match="'srk' is not a known method of torchsde"):
        TorchSDE("srk")
    with pytest.raises(ParameterError, match="n_steps must be at least 1"):
        TorchSDE(n_steps=0)

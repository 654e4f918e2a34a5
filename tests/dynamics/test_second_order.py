import math

import pytest
import torch

from tests.helpers import solve
from tsode.dynamics import SecondOrder
from tsode.errors import ParameterError
from tsode.testing import check_dynamics


def with_random_weights(size, **how):
    torch.manual_seed(0)
    field = SecondOrder(**how).double()
    for weight in field.parameters():
        torch.nn.init.normal_(weight, std=size)
    return field


@pytest.mark.parametrize("n_static", [0, 2])
def test_it_keeps_the_contract(n_static):
    torch.manual_seed(0)
    check_dynamics(SecondOrder(n_state=4 + n_static, n_static=n_static, width=7))


@pytest.mark.parametrize("size", [0.1, 1.0, 3.0])
def test_the_energy_of_every_row_is_kept_to_the_tolerance_of_a_solver(size):
    field = with_random_weights(size, n_state=7, n_static=1, width=12)
    z = torch.randn(50, 7, dtype=torch.float64)
    with torch.no_grad():
        end = solve(field, z, span=5.0)
        energies = [field.energy(state[:, :6], state[:, 6:]) for state in (z, end)]
    assert (energies[0] - energies[0][0]).abs().max() > 0.1, "each row has an energy of its own"
    torch.testing.assert_close(*energies, rtol=1e-7, atol=1e-7)
    assert (end[:, 3:6].square().sum(dim=1) <= 2 * energies[0] * (1 + 1e-7)).all()


def test_a_stiff_spring_of_small_swing_has_the_period_of_the_closed_form():
    field = SecondOrder(2, width=1).double()
    torch.nn.init.constant_(field.surface.weight, 3.0)  # q'' = -3 tanh(3 q), near -9 q
    z = torch.tensor([[1e-6, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(solve(field, z, span=2 * math.pi / 3), z, rtol=1e-4, atol=1e-14)


def test_check_finds_friction():
    class Damped(SecondOrder):
        def velocity(self, t, v, theta):
            return 0.9 * v

    torch.manual_seed(0)
    (energy,) = Damped(4).double().check(torch.randn(50, 4, dtype=torch.float64))
    assert not energy.holds


def test_an_odd_number_of_coordinates_is_told():
    with pytest.raises(ParameterError, match="must be even"):
        SecondOrder(5)

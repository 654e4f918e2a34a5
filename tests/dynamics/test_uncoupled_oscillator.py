import pytest
import torch

from tests.helpers import solve
from tsode.dynamics import UncoupledOscillator
from tsode.errors import ParameterError
from tsode.testing import check_dynamics


def with_random_weights(**how):
    torch.manual_seed(0)
    field = UncoupledOscillator(**how).double()
    for weight in field.parameters():
        torch.nn.init.normal_(weight)
    return field


@pytest.mark.parametrize("n_static", [0, 2])
def test_it_keeps_the_contract(n_static):
    torch.manual_seed(0)
    check_dynamics(UncoupledOscillator(n_state=4 + n_static, n_static=n_static))


def test_every_oscillator_keeps_an_energy_of_its_own():
    field = with_random_weights(n_state=9, n_static=1)
    z = torch.randn(50, 9, dtype=torch.float64)
    with torch.no_grad():
        end = solve(field, z, span=5.0)
        energies = [field.energy(state[:, :8], state[:, 8:]) for state in (z, end)]
    torch.testing.assert_close(*energies, rtol=1e-7, atol=1e-7)
    assert (end[:, :4].square() <= 2 * energies[0] * (1 + 1e-7)).all()
    assert (end[:, 4:8].square() <= 2 * energies[0] * (1 + 1e-7)).all()


def test_between_events_no_oscillator_sees_another():
    field = with_random_weights(n_state=8)
    z = torch.randn(5, 8, dtype=torch.float64)
    other = z.clone()
    other[:, 1] += 1.0
    change = (field(torch.zeros(5), other) - field(torch.zeros(5), z)).abs().amax(dim=0)
    assert change.nonzero().flatten().tolist() == [5]


def test_what_cannot_be_is_told():
    with pytest.raises(ParameterError, match="stiffness=0"):
        UncoupledOscillator(4, stiffness=0.0)
    with pytest.raises(ParameterError, match="must be even"):
        UncoupledOscillator(5)

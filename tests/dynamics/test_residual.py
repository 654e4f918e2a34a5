import pytest
import torch

from tests.helpers import solve
from tsode.dynamics import ResidualDynamics
from tsode.errors import ParameterError
from tsode.testing import check_dynamics


def swing(t, z):
    return torch.stack([z[:, 1], -z[:, 0].sin()], dim=1)


def test_it_keeps_the_contract_with_known_rates():
    torch.manual_seed(0)
    check_dynamics(ResidualDynamics(2, swing))


def test_before_training_it_is_the_known_field_to_the_bit():
    torch.manual_seed(0)
    z = torch.randn(9, 2, dtype=torch.float64)
    t = torch.zeros(9, dtype=torch.float64)
    assert torch.equal(ResidualDynamics(2, swing).double()(t, z), swing(t, z))


def test_it_learns_the_friction_that_the_known_rates_leave_out():
    torch.manual_seed(0)
    field = ResidualDynamics(2, swing, width=16).double()
    z = torch.randn(200, 2, dtype=torch.float64)
    t = torch.zeros(200, dtype=torch.float64)
    truth = swing(t, z) - 0.3 * z * torch.tensor([0.0, 1.0])
    optimiser = torch.optim.LBFGS(field.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        value = (field(t, z) - truth).square().mean()
        value.backward()
        return value

    optimiser.step(loss)
    start = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    expected = solve(lambda t, z: swing(t, z) - 0.3 * z * torch.tensor([0.0, 1.0]), start, span=5.0)
    with torch.no_grad():
        found = solve(field, start, span=5.0)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.01)
    assert (solve(swing, start, span=5.0) - expected).abs().max() > 0.3


def test_known_rates_that_cannot_be_called_are_told():
    with pytest.raises(ParameterError, match="must be a function"):
        ResidualDynamics(2, 3.0)

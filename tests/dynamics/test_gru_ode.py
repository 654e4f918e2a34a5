import pytest
import torch
from torch import nn

from tests.helpers import solve
from tsode.dynamics import GRUODE
from tsode.numerics import Dopri5, Euler, ExponentialEuler


def with_weights_of(cell):
    """The field whose Euler step of length 1 is the cell's update with zero input."""
    field = GRUODE(cell.hidden_size).to(cell.weight_hh.dtype)
    n = 2 * cell.hidden_size
    with torch.no_grad():
        field.gates.weight.copy_(cell.weight_hh)
        field.gates.bias[:n].copy_((cell.bias_hh + cell.bias_ih)[:n])
        field.gates.bias[n:].copy_(cell.bias_hh[n:])
        field.candidate_bias.copy_(cell.bias_ih[n:])
    return field


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 5e-7), (torch.float64, 1e-14)])
def test_one_euler_step_of_length_one_is_the_update_of_a_gru_cell(dtype, tolerance):
    torch.manual_seed(0)
    cell = nn.GRUCell(input_size=2, hidden_size=5, dtype=dtype)
    z = torch.randn(7, 5, dtype=dtype)
    expected = cell(torch.zeros(7, 2, dtype=dtype), z)
    torch.testing.assert_close(
        solve(with_weights_of(cell), z, 1.0, solver=Euler()), expected, rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("solver", [Dopri5(), ExponentialEuler()])
def test_states_within_one_stay_within_one(solver):
    torch.manual_seed(0)
    field = GRUODE(8).double()
    field.requires_grad_(False).gates.weight.mul_(20)  # saturated gates
    z = torch.rand(20, 8, dtype=torch.float64) * 2 - 1
    assert solve(field, z, 2.0, solver=solver).abs().max() <= 1

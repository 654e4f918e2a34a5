import pytest
import torch
from torch import nn

from tests.helpers import solve
from tsode.dynamics import AntiFeedback
from tsode.errors import ParameterError
from tsode.numerics import RK4, Euler, ExponentialEuler
from tsode.testing import check_dynamics


def with_random_weights(size, **how):
    torch.manual_seed(0)
    field = AntiFeedback(**how).double()
    for weight in field.parameters():
        nn.init.normal_(weight, std=size)
    return field


@pytest.mark.parametrize("n_static", [0, 2])
def test_it_keeps_the_contract(n_static):
    torch.manual_seed(0)
    check_dynamics(AntiFeedback(n_state=5, n_static=n_static))


def test_without_a_floor_it_is_the_gru_cell_at_the_negative_state():
    torch.manual_seed(0)
    cell = nn.GRUCell(input_size=1, hidden_size=5, dtype=torch.float64)
    field = AntiFeedback(5, floor=1e-15).double()
    with torch.no_grad():
        field.gates.weight.copy_(cell.weight_hh)
        field.gates.bias.copy_(cell.bias_hh)
        field.gates.bias[:10].add_(cell.bias_ih[:10])
        field.candidate_bias.copy_(cell.bias_ih[10:])
    x = torch.randn(7, 5, dtype=torch.float64)
    expected = cell(torch.zeros(7, 1, dtype=torch.float64), -x)
    torch.testing.assert_close(solve(field, x, 1.0, solver=Euler()) - x, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("stretch", [1.0, 1e3, 1e6])
@pytest.mark.parametrize("size", [1.0, 10.0])
def test_states_stay_in_their_box_however_much_time_is_stretched(size, stretch):
    field = with_random_weights(size, n_state=8, n_static=2, floor=0.2)
    z = 8 * torch.rand(50, 8, dtype=torch.float64) - 4  # the box is |x| <= 4
    with torch.no_grad():
        end = solve(field, z, span=stretch, solver=ExponentialEuler(n_steps=50))
    assert end[:, :6].abs().max() <= 4 * (1 + 1e-12)
    assert torch.equal(end[:, 6:], z[:, 6:])


@pytest.mark.slow
def test_the_gru_that_sees_its_state_itself_explodes_when_time_is_stretched():
    field = with_random_weights(1.0, n_state=8, floor=0.2)
    z = torch.ones(4, 8, dtype=torch.float64)
    with torch.no_grad():
        plain = solve(lambda t, x: field(t, -x), z, span=100.0, solver=RK4(max_step=0.05))
        ours = solve(field, z, span=100.0, solver=RK4(max_step=0.05))
    assert plain.abs().max() > 1e6
    assert ours.abs().max() <= 4


@pytest.mark.slow
def test_the_gate_of_the_paper_lets_states_run_away():
    field = AntiFeedback(1, floor=1e-12).double()
    with torch.no_grad():
        for weight, value in ((field.gates.weight, [[0.0], [9.0], [-9.0]]), (field.gates.bias, [9.0, -9.0, 0.0])):
            weight.copy_(torch.tensor(value, dtype=torch.float64))
        end = solve(field, torch.ones(1, 1, dtype=torch.float64), span=100.0, solver=RK4(max_step=0.05))
    assert end > 90


@pytest.mark.parametrize("floor", [0.0, 1.0])
def test_a_floor_outside_of_zero_and_one_is_told(floor):
    with pytest.raises(ParameterError, match="between 0 and 1"):
        AntiFeedback(3, floor=floor)

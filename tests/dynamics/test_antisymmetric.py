import pytest
import torch

from tests.helpers import solve
from tsode.dynamics import Antisymmetric
from tsode.errors import ParameterError
from tsode.numerics.row_jacobian import linearise
from tsode.testing import check_dynamics

KINDS = [{"tanh": tanh, "gated": gated} for tanh in ("outside", "inside") for gated in (False, True)]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


def with_random_weights(size, **how):
    torch.manual_seed(0)
    field = Antisymmetric(**how).double()
    for weight in field.parameters():
        torch.nn.init.normal_(weight, std=size)
    return field


@every_kind
@pytest.mark.parametrize("n_static", [0, 2])
def test_every_kind_keeps_the_contract(kind, n_static):
    torch.manual_seed(0)
    check_dynamics(Antisymmetric(n_state=5, n_static=n_static, **kind))


@pytest.mark.parametrize("damping", [0.0, 0.3])
@pytest.mark.parametrize("size", [0.1, 1.0, 10.0])
def test_the_linear_part_has_the_real_parts_minus_damping(damping, size):
    matrix = with_random_weights(size, n_state=20, damping=damping).matrix()
    assert (torch.linalg.eigvals(matrix).real + damping).abs().max() < 1e-12


@every_kind
def test_no_real_part_of_the_jacobian_is_above_zero_at_ten_thousand_states(kind):
    field = with_random_weights(3.0, n_state=10, damping=0.1, **kind)
    states = torch.randn(10_000, 10, dtype=torch.float64)
    _, nonlinear = field.check(states)
    assert nonlinear.measured < 1e-12
    assert nonlinear.holds


def test_the_real_parts_of_the_nonlinear_field_are_not_minus_damping():
    field = with_random_weights(1.0, n_state=10, damping=0.3)
    jacobian = linearise(field, torch.zeros(50, dtype=torch.float64), torch.randn(50, 10, dtype=torch.float64))[1]
    assert torch.linalg.eigvals(jacobian).real.max() > -0.01


def test_the_gate_of_the_paper_would_break_the_promise():
    class AsInThePaper(Antisymmetric):
        def _squash(self, q, theta):
            return torch.sigmoid(q + self.gate(theta)) * q.tanh()

    torch.manual_seed(0)
    field = AsInThePaper(10, gated=True).double()
    _, nonlinear = field.check(3 * torch.randn(1000, 10, dtype=torch.float64))
    assert not nonlinear.holds
    assert nonlinear.measured > 0.01


def test_the_speed_is_at_most_one_with_the_tanh_outside():
    field = with_random_weights(10.0, n_state=6)
    assert field(torch.zeros(99), 100 * torch.randn(99, 6, dtype=torch.float64)).abs().max() <= 1


@pytest.mark.parametrize("gated", [False, True])
def test_theta_stands_still_and_is_read(gated):
    field = with_random_weights(1.0, n_state=6, n_static=2, gated=gated)
    z = torch.randn(3, 6, dtype=torch.float64)
    end = solve(field, z, span=1.0)
    assert torch.equal(end[:, 4:], z[:, 4:])
    other = solve(field, torch.cat([z[:, :4], z[:, 4:] + 1], dim=1), span=1.0)
    assert (other[:, :4] - end[:, :4]).abs().min() > 1e-6


def test_what_cannot_be_is_told():
    with pytest.raises(ParameterError, match="'outside' or 'inside'"):
        Antisymmetric(3, tanh="both")
    with pytest.raises(ParameterError, match="zero or more"):
        Antisymmetric(3, damping=-1.0)

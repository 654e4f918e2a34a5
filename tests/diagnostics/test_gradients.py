"""Check of gradients: finds states at rest, and adjoints that have lost their states."""

import pytest
import torch
from torch import nn

from tsode.diagnostics import gradient_check
from tsode.errors import ParameterError
from tsode.numerics import RK4, Dopri5, TorchDiffEq


def tensor(values, requires_grad=False):
    return torch.tensor(values, dtype=torch.float64, requires_grad=requires_grad)


class Rate(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rate = nn.Parameter(tensor([rate]))

    def forward(self, t, z):
        return self.rate * z


def test_a_state_at_rest_with_a_wrong_gradient_is_found_by_other_steps_and_by_another_mode():
    """Steps chosen by a state that does not move are far too long, at any tolerance."""
    level = tensor([1.0], True)
    table = gradient_check(lambda t, z: level - z, tensor([[1.0]]), t1=30.0, solver=TorchDiffEq(rtol=1e-9, atol=1e-10))
    assert (table[["steps_error", "mode_error"]] > 0.1).all(axis=None)
    assert "differs" in table.attrs["summary"]


def test_our_steps_are_right_at_rest():
    table = gradient_check(Rate(-1.0), tensor([[0.0]]), t1=10.0, solver=Dopri5(rtol=1e-8, atol=1e-10))
    assert table["tensor"].tolist() == ["start", "rate"]
    assert (table[["steps_error", "mode_error"]] < 2e-2).all(axis=None)


@pytest.mark.slow
def test_an_adjoint_that_has_lost_its_start_is_found():
    solver = TorchDiffEq(rtol=1e-7, atol=1e-9)
    table = gradient_check(Rate(-50.0), tensor([[1.0]]), t1=0.5, solver=solver, gradient="adjoint")
    assert table.set_index("tensor")["mode_error"]["rate"] > 0.1
    assert "differs" in table.attrs["summary"]


def test_a_right_gradient_agrees():
    table = gradient_check(Rate(-0.7), tensor([[1.0], [2.0]]), t1=3.0, solver=Dopri5(rtol=1e-8, atol=1e-10))
    assert (table[["steps_error", "mode_error"]] < 1e-5).all(axis=None)
    assert "agrees" in table.attrs["summary"]
    coarse = gradient_check(Rate(-0.7), tensor([[1.0]]), t1=3.0, solver=RK4())
    assert (coarse["steps_error"] > 0.01).all()
    assert (coarse["mode_error"] < 1e-10).all()


def test_a_weight_taken_out_of_the_graph_is_named():
    class Detached(Rate):
        def forward(self, t, z):
            return self.rate.detach() * z

    with pytest.raises(ParameterError, match="'rate' requires a gradient and gets none by"):
        gradient_check(Detached(-1.0), tensor([[1.0]]), t1=1.0, solver=RK4(n_steps=4))


def test_what_cannot_be_checked_is_refused():
    with pytest.raises(ParameterError, match="takes a fitted forecaster, or a field with its starts and an end"):
        gradient_check(Rate(-1.0), tensor([[1.0]]))

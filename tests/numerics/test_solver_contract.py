"""What every solver promises, checked on all of them."""

import pytest
import torch

from tests.numerics.solver_settings import every_setting
from tests.numerics.systems import SYSTEMS
from tsode.dynamics import GRUODE
from tsode.errors import ParameterError, ShapeError
from tsode.numerics import SOLVERS, Midpoint
from tsode.numerics.affine_flow import AffineFlow
from tsode.numerics.integrate import integrate, integrate_to
from tsode.testing import check_solver


@pytest.mark.slow
@every_setting(SOLVERS)
def test_solvers_keep_the_contract(solver):
    check_solver(solver)


def test_checkpoints_store_less():
    def stored_bytes(gradient):
        total = 0

        def count(tensor):
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        field, z = GRUODE(16), torch.zeros(32, 16)
        start = torch.zeros(32, dtype=torch.float64)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            integrate(field, z, start, start + 1, SOLVERS["rk4"](n_steps=10), gradient)
        return total

    assert stored_bytes("checkpoint") < 0.2 * stored_bytes("backprop")


def test_mistakes_at_the_door_are_named():
    system = SYSTEMS["logistic"]
    start = torch.zeros(1, dtype=torch.float64)
    with pytest.raises(ShapeError, match="`t1` has 2 on axis 'b'"):
        integrate(system.field, system.z0, start, torch.zeros(2, dtype=torch.float64), Midpoint())
    with pytest.raises(ParameterError, match="'adjoint' is not offered by AffineFlow: use one of backprop, checkpoint"):
        integrate(system.field, system.z0, start, start, AffineFlow(), gradient="adjoint")
    with pytest.raises(ParameterError, match="query_step must be a positive length"):
        integrate_to(system.field, system.z0, start, start[None], Midpoint(), query_step=0.0)

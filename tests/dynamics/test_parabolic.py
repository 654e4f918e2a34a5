import pytest
import torch

from tsode.core.status import Status
from tsode.dynamics import Parabolic
from tsode.errors import ParameterError
from tsode.numerics import RK4
from tsode.numerics.integrate import integrate_to
from tsode.testing import check_dynamics

SIZES = [0.1, 1.0, 3.0]


def with_random_weights(size, **how):
    torch.manual_seed(0)
    field = Parabolic(**how).double()
    for weight in field.parameters():
        torch.nn.init.normal_(weight, std=size)
    return field


@pytest.mark.parametrize("n_static", [0, 2])
def test_it_keeps_the_contract(n_static):
    torch.manual_seed(0)
    check_dynamics(Parabolic(n_state=5, n_static=n_static, width=7))


@pytest.mark.parametrize("size", SIZES)
def test_two_solutions_never_part(size):
    field = with_random_weights(size, n_state=5, n_static=1, width=12)
    z = 3 * torch.randn(50, 5, dtype=torch.float64)
    z[:, 4] = 0.7  # of one series
    t0, times = torch.zeros(50, dtype=torch.float64), torch.linspace(0, 2, 41, dtype=torch.float64).expand(50, -1)
    with torch.no_grad():
        path = integrate_to(field, z, t0, times, RK4(max_step=5e-3))
    assert path.status.eq(int(Status.OK)).all()
    distance = torch.linalg.vector_norm(path.z - path.z.roll(1, dims=0), dim=2)
    assert (distance.diff(dim=1) <= 1e-9 * distance[:, :1]).all()


def test_check_finds_a_field_that_expands():
    class Outwards(Parabolic):
        def motion(self, t, x, theta):
            return super().motion(t, x, theta) + 2 * x

    torch.manual_seed(0)
    (contraction,) = Outwards(4).double().check(torch.randn(50, 4, dtype=torch.float64))
    assert not contraction.holds


def test_a_width_of_none_is_told():
    with pytest.raises(ParameterError, match="width=0"):
        Parabolic(4, width=0)

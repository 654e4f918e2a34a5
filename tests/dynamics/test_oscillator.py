import pytest
import torch

from tests.helpers import solve
from tsode.core.status import Status
from tsode.dynamics import Oscillator
from tsode.errors import ParameterError
from tsode.numerics import RK4
from tsode.numerics.integrate import integrate_to
from tsode.testing import check_dynamics


def with_random_weights(size, **how):
    torch.manual_seed(0)
    field = Oscillator(**how).double()
    with torch.no_grad():
        for name, weight in field.named_parameters():
            if name != "log_rate":
                torch.nn.init.normal_(weight, std=size)
    return field


@pytest.mark.parametrize("n_static", [0, 2])
def test_it_keeps_the_contract(n_static):
    torch.manual_seed(0)
    check_dynamics(Oscillator(n_state=4 + n_static, n_static=n_static))


@pytest.mark.parametrize("damping", [0.05, 0.5])
@pytest.mark.parametrize("size", [1.0, 10.0])
def test_no_amplitude_ever_passes_its_bound(size, damping):
    field = with_random_weights(size, n_state=9, n_static=1, damping=damping)
    z = 10 * torch.randn(20, 9, dtype=torch.float64)
    t0, times = torch.zeros(20, dtype=torch.float64), torch.linspace(0, 20, 21, dtype=torch.float64).expand(20, -1)
    with torch.no_grad():
        path = integrate_to(field, z, t0, times, RK4(max_step=0.05))
    assert path.status.eq(int(Status.OK)).all()
    y, v = path.z[..., :4], path.z[..., 4:8]
    amplitude = (y.square() + v.square() + 2 * damping * y * v).sqrt()
    bound = amplitude[:, :1].clamp(min=1 / damping)
    assert (amplitude <= bound * (1 + 1e-3)).all()
    assert amplitude[:, -1].max() > 0.3


def test_alone_it_is_the_damped_oscillator_of_the_closed_form():
    field = Oscillator(2, damping=0.3, rates=(2.0, 2.0)).double()
    torch.nn.init.zeros_(field.weight)
    end = solve(field, torch.tensor([[1.0, -0.3]], dtype=torch.float64), span=1.7)
    omega, decay = 2 * torch.tensor(0.91, dtype=torch.float64).sqrt(), 0.6
    y = torch.exp(torch.tensor(-decay * 1.7, dtype=torch.float64)) * torch.cos(omega * 1.7)
    torch.testing.assert_close(end[0, 0], y, rtol=1e-8, atol=1e-8)


def test_check_finds_a_force_above_one():
    class Pushed(Oscillator):
        def motion(self, t, x, theta):
            return super().motion(t, x, theta) + 3.0

    torch.manual_seed(0)
    (amplitude,) = Pushed(4).double().check(torch.randn(50, 4, dtype=torch.float64))
    assert not amplitude.holds


def test_what_cannot_be_is_told():
    with pytest.raises(ParameterError, match="between 0 and 1"):
        Oscillator(4, damping=0.0)
    with pytest.raises(ParameterError, match="must be even"):
        Oscillator(4, n_static=1)

import math

import pytest
import torch

from tests.helpers import solve
from tsode.dynamics import MLPDynamics, SemilinearDynamics
from tsode.errors import ParameterError
from tsode.evolutions import DiagonalFlow
from tsode.evolutions.base import Solved
from tsode.numerics import Euler, ExponentialDifference

N_MODES, N_STATE = 3, 8


@pytest.fixture
def field():
    """Without a correction yet."""
    torch.manual_seed(0)
    made = SemilinearDynamics(N_STATE, N_MODES).double().requires_grad_(False)
    made.modes.rate.uniform_(-3.0, 1.0)
    return made


@pytest.fixture
def corrected(field):
    last = field.correction[-1]
    torch.nn.init.normal_(last.weight, std=0.5)
    torch.nn.init.normal_(last.bias)
    return field


@pytest.fixture
def z0():
    return torch.randn(6, N_STATE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_without_a_correction_one_step_is_the_diagonal_flow(field, z0):
    flow = DiagonalFlow(N_MODES, N_STATE - 2 * N_MODES).double()
    flow.load_state_dict(field.modes.state_dict())
    t0 = torch.linspace(-1.0, 2.0, len(z0), dtype=torch.float64)
    t1 = t0 + torch.tensor([0.0, 1e-3, 0.7, 3.0, 11.0, -0.5], dtype=torch.float64)
    times = t0[:, None] + torch.tensor([0.0, 2.0, 0.1, -0.4], dtype=torch.float64)
    solved = Solved(field, ExponentialDifference())
    torch.testing.assert_close(solved.evolve(z0, t0, t1).z, flow.evolve(z0, t0, t1).z, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(
        solved.evolve_to(z0, t0, times).z, flow.evolve_to(z0, t0, times).z, rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("span", [0.7, -0.7, 1e-6])
def test_one_step_is_exact_for_a_constant_correction(field, z0, span):
    torch.nn.init.normal_(field.correction[-1].bias)
    force = field.correction[-1].bias
    rate = torch.complex(*(sign * part for sign, part in zip((-1.0, 1.0), field.modes.rates(z0[:, 2 * N_MODES :]))))
    re, im = z0[:, : 2 * N_MODES].chunk(2, dim=1)
    growth = (rate * span).exp()
    modes = torch.complex(re, im) * growth + torch.complex(*force.chunk(2)) * (growth - 1.0) / rate
    expected = torch.cat([modes.real, modes.imag, z0[:, 2 * N_MODES :]], dim=1)
    torch.testing.assert_close(solve(field, z0, span, solver=ExponentialDifference()), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_error_falls_with_order_one_and_is_below_that_of_euler(corrected, z0):
    exact = solve(corrected, z0, 1.0)
    coarse, fine = [
        (solve(corrected, z0, 1.0, solver=ExponentialDifference(n_steps=n)) - exact).abs().max() for n in (128, 256)
    ]
    assert math.log2(coarse / fine) == pytest.approx(1, abs=0.15)
    assert fine < 0.1 * (solve(corrected, z0, 1.0, solver=Euler(n_steps=256)) - exact).abs().max()


def test_the_state_inside_a_step_is_that_of_a_shorter_step(corrected, z0):
    t0 = torch.zeros(len(z0), dtype=torch.float64)
    solved = Solved(corrected, ExponentialDifference(), query_step=1.0)
    inside = solved.evolve_to(z0, t0, t0[:, None] + 0.3).z[:, 0]
    torch.testing.assert_close(inside, solved.evolve(z0, t0, t0 + 0.3).z, rtol=1e-13, atol=1e-14)


def test_gradients_of_state_times_and_weights_are_right(corrected, z0):
    corrected.requires_grad_()
    t0 = torch.linspace(0.0, 1.0, len(z0), dtype=torch.float64)
    inputs = [x.clone().requires_grad_() for x in (z0, t0 + 0.8, t0[:, None] + torch.tensor([[0.4, -0.3]]))]
    solved = Solved(corrected, ExponentialDifference(n_steps=2))

    def states(z, t1, times, *_):
        return solved.evolve(z, t0, t1).z, solved.evolve_to(z, t0, times).z

    assert torch.autograd.gradcheck(states, (*inputs, *corrected.parameters()), fast_mode=True)


def test_coordinates_without_a_rate_take_a_step_of_euler():
    class Drift(torch.nn.Module):
        def forward(self, t, z):
            return torch.ones_like(z)

        def linearised(self, t, z):
            return torch.zeros_like(z), torch.zeros_like(z), self(t, z)

        def turn(self, z):
            return torch.zeros_like(z)

    z0 = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    z1 = solve(Drift(), z0, 0.7, solver=ExponentialDifference())
    assert torch.equal(z1, torch.full_like(z1, 0.7))
    assert torch.autograd.grad(z1.sum(), z0)[0].isfinite().all()


def test_long_steps_do_not_grow(corrected, z0):
    corrected.modes.rate.fill_(
        2.0
    )  # decay of about 2: a state forgets its start and settles where the correction holds it
    assert solve(corrected, z0, 1e3, solver=ExponentialDifference()).abs().max() < 20
    assert solve(corrected, z0, 1e3, solver=Euler()).abs().max() > 1e3


def test_a_field_without_a_linear_part_is_refused():
    z0 = torch.zeros(1, 4, dtype=torch.float64)
    with pytest.raises(ParameterError, match=r"needs a SemilinearField, .*linearised and turn, which MLPDynamics"):
        solve(MLPDynamics(4).double(), z0, 1.0, solver=ExponentialDifference())

"""Our solvers beside torchsde, on the same Brownian paths."""

import pytest
import torch
import torchsde

from tests.numerics.sde_systems import StratonovichGrowth, brownian
from tsode.dynamics import GeometricBrownian, NeuralSDE
from tsode.numerics import EulerMaruyama, Milstein, TorchSDE
from tsode.numerics.sde import Ito, integrate_sde, integrate_sde_to

SPAN = torch.tensor([0.7, 0.02, 1.5], dtype=torch.float64)
START = torch.zeros(3, dtype=torch.float64)
PAIRS = [("euler", EulerMaruyama), ("milstein", Milstein)]


def neural(**how):
    torch.manual_seed(0)
    return NeuralSDE(2, width=8, **how).double()


@pytest.fixture
def z():
    return torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()


@pytest.mark.parametrize(("method", "ours"), PAIRS)
def test_states_and_gradients_are_those_of_torchsde_on_the_same_path(method, ours, z):
    sde = neural()
    inputs = [z, *sde.parameters()]
    paths = brownian(3, n_noise=2, reach=2.0)
    times = START[:, None] + SPAN[:, None] * torch.tensor([0.5, 1.0])
    for call in (
        lambda solver: integrate_sde(sde, z, START, SPAN, solver, paths).z,
        # one step to the next query of each of them
        lambda solver: integrate_sde_to(sde, z, START, times / 16, solver, paths).z,
    ):
        n_steps = 5 if call(ours()).dim() == 2 else 1
        left, right = call(ours(n_steps=n_steps)), call(TorchSDE(method, n_steps=n_steps))
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)
        for a, b in zip(
            torch.autograd.grad(left.square().sum(), inputs), torch.autograd.grad(right.square().sum(), inputs)
        ):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_milstein_of_a_stratonovich_equation_is_that_of_torchsde(z):
    sde, paths = StratonovichGrowth(2), brownian(3, n_noise=2, reach=2.0)
    ends = [
        integrate_sde(sde, z, START, SPAN, solver, paths).z for solver in (Milstein(n_steps=4), TorchSDE(n_steps=4))
    ]
    torch.testing.assert_close(*ends, rtol=1e-12, atol=1e-12)


class InItsWords(torch.nn.Module):
    """An equation of ours as torchsde wants it: nothing of ours but drift and diffusion."""

    noise_type = "diagonal"

    def __init__(self, sde):
        super().__init__()
        self.sde, self.sde_type = sde, sde.calculus

    def f(self, t, z):
        return self.sde.drift(t.expand(len(z)), z)

    def g(self, t, z):
        return self.sde.diffusion(t.expand(len(z)), z)


class ItsPath:
    """A Brownian path of torchsde for rows that all start at time 0, as our solvers ask for one."""

    n_noise = 2

    def __init__(self, n_rows, width=2):
        self.path = torchsde.BrownianInterval(0.0, 1.0, size=(n_rows, width), dtype=torch.float64, entropy=7)
        self.origin = torch.zeros(n_rows, dtype=torch.float64)

    def __call__(self, times):
        if times.dim() == 2:
            return torch.stack([self(t) for t in times.unbind(dim=1)], dim=1)
        if times[0] == 0:
            return torch.zeros(len(times), 2, dtype=torch.float64)
        return self.path(0.0, float(times[0]))[:, :2]


@pytest.mark.parametrize(("method", "ours"), PAIRS)
def test_our_solvers_follow_a_path_of_torchsde_to_the_same_end_with_the_same_gradient(method, ours, z):
    sde = neural()
    inputs = [z, *sde.parameters()]
    brownian = ItsPath(3)
    ends = [
        torchsde.sdeint(InItsWords(sde), z, [0.0, 1.0], bm=brownian.path, method=method, dt=1 / 8)[-1],
        integrate_sde(sde, z, START, START + 1, ours(n_steps=8), brownian).z,
    ]
    torch.testing.assert_close(*ends, rtol=1e-10, atol=1e-10)
    for a, b in zip(*(torch.autograd.grad(end.square().sum(), inputs) for end in ends)):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
def test_the_adjoint_gradient_of_torchsde_comes_to_ours_as_its_steps_shrink(z):
    sde = neural(bounds=(0.1, 0.5))
    brownian = ItsPath(3)
    inputs = [z, *sde.parameters()]

    def gradient(end):
        return torch.cat([part.flatten() for part in torch.autograd.grad(end.sum(), inputs)])

    ours = gradient(integrate_sde(sde, z, START, START + 1, Milstein(n_steps=128), brownian).z)
    errors = []
    for n_steps in (8, 32):
        end = torchsde.sdeint_adjoint(
            InItsWords(sde), z, [0.0, 1.0], bm=brownian.path, method="milstein", dt=1 / n_steps,
            adjoint_method="milstein",
        )[-1]  # fmt: skip
        errors.append(float((gradient(end) - ours).norm() / ours.norm()))
    assert errors[1] < 0.06
    assert errors[1] < 0.4 * errors[0]  # of order 1: a quarter


@pytest.mark.parametrize("method", ["euler_heun", "heun", "midpoint", "reversible_heun"])
def test_its_methods_for_stratonovich_come_to_the_known_solution(method):
    sde, n = StratonovichGrowth(1), 200
    paths, start = brownian(n, depth=6), torch.zeros(n, dtype=torch.float64)
    z = torch.ones(n, 1, dtype=torch.float64)
    exact = torch.exp(sde.growth + sde.sigma * paths(start + 1))
    end = integrate_sde(sde, z, start, start + 1, TorchSDE(method, n_steps=128), paths).z
    assert TorchSDE(method).strong_order == 1.0  # of the order of a step
    assert ((end - exact).abs() / exact).mean() < 1 / 128


def test_slope_of_the_diffusion_by_autograd_is_the_closed_form():
    sde = GeometricBrownian(2).double()
    z = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    for state in (z, z.clone().requires_grad_()):
        assert torch.equal(Ito.diffusion_slope(sde, START[:1], state), sde.diffusion_slope(START[:1], state))
    with torch.no_grad():
        slope = Ito.diffusion_slope(sde, START[:1], z)
    assert torch.equal(slope, sde.diffusion_slope(START[:1], z))
    assert not slope.requires_grad

"""Steered steps against closed forms: bridges of Brownian motion, and the path KL of two processes."""

import math

import pytest
import torch

from tests.evolutions.test_stochastic import ornstein_uhlenbeck, path_kl
from tsode.core.status import Status
from tsode.evolutions.steered import run_steered
from tsode.numerics import EulerMaruyama, HeunMaruyama, TorchSDE
from tsode.numerics.drawn_brownian import draw_brownian
from tsode.numerics.sde import Ito
from tsode.numerics.step_layout import StepLayout

SIGMA, SPAN, SEEN, NOISE = 1.3, 0.9, 2.0, 0.2


class Wiener(Ito):
    """Brownian motion times `SIGMA`."""

    def drift(self, t, z):
        return torch.zeros_like(z)

    def diffusion(self, t, z):
        return torch.full_like(z, SIGMA)


class Bursting(Ito):
    """It leaves the finite numbers at once where it is above 1, and rests below."""

    def drift(self, t, z):
        return torch.where(z > 1.0, torch.exp(1e3 * z), 0.0)

    def diffusion(self, t, z):
        return torch.full_like(z, 1e-3)


def steer(sde, z, step, pull, solver=None, span=SPAN, seed=0, times=None, is_steered=True, pushes=None):
    """Steered paths from ``z`` (s b d) to `span`, and their states at ``times`` (m,)."""
    stops = torch.tensor([[0.0, span]], dtype=torch.float64).expand(z.shape[1], -1)
    layout = StepLayout.lay(stops, stops[:, -1], step, 10_000)
    nodes = torch.nn.functional.pad(layout.ends, (1, 0))
    asked = torch.tensor([span] if times is None else times, dtype=torch.float64).expand(z.shape[1], -1)
    motion = draw_brownian(torch.cat([nodes, asked], 1), len(z), z.shape[2], torch.Generator().manual_seed(seed))
    at_nodes, at_times = motion.split([nodes.shape[1], asked.shape[1]], dim=2)
    steered = torch.full_like(layout.ends, is_steered, dtype=torch.bool)
    solver = (solver or EulerMaruyama()).as_steps()
    path = run_steered(solver, sde, z, layout, at_nodes, lambda k, x: pull(layout.ends[0, k], x), steered, pushes)
    return path, path.read(asked, at_times, at_nodes)


def to_observation(t, z):
    """The likelihood of `SEEN`, at `SPAN` and of `NOISE`, given that Brownian motion is at ``z`` at the time ``t``."""
    rate = SIGMA**2 / (NOISE**2 + SIGMA**2 * (SPAN - t))
    return rate.log().expand_as(z), torch.full_like(z, SEEN)


def log_normal(x, mean, variance):
    return -0.5 * ((x - mean) ** 2 / variance + math.log(2 * math.pi * variance))


@pytest.mark.parametrize("step", [SPAN, 0.3, 0.01])
@pytest.mark.parametrize("solver", [EulerMaruyama(), HeunMaruyama(), TorchSDE("milstein")])
def test_the_bound_of_brownian_motion_seen_with_noise_is_its_evidence_in_one_step_as_in_many(step, solver):
    if isinstance(solver, TorchSDE) and step < 0.1:
        pytest.skip("a hundred calls of torchsde")
    n = 4000
    path, z = steer(Wiener(1), torch.zeros(n, 1, 1).double(), step, to_observation, solver)
    variance = SIGMA**2 * SPAN
    gain = variance / (variance + NOISE**2)
    # the end has the law of the posterior, with the standard errors of a mean and of a variance
    assert abs(float(z.mean()) - gain * SEEN) <= 6 * ((1 - gain) * variance / n) ** 0.5
    assert abs(float(z.var()) - (1 - gain) * variance) <= 6 * (1 - gain) * variance * (2 / n) ** 0.5
    bound = log_normal(SEEN, z[:, 0, 0, 0], NOISE**2) - path.cost[:, 0]
    error = float(bound.std()) / n**0.5
    assert abs(float(bound.mean()) - log_normal(SEEN, 0.0, variance + NOISE**2)) <= 6 * error
    assert 6 * error < 0.3


def test_inside_a_step_the_law_is_that_of_a_path_in_fine_steps():
    n, times = 20_000, [0.2, 0.45, 0.7, 0.9]
    z = steer(Wiener(1), torch.zeros(n, 1, 1).double(), SPAN, to_observation, times=times)[1][:, 0, :, 0]
    t = torch.tensor(times, dtype=torch.float64)
    prior = SIGMA**2 * torch.minimum(t, t[:, None])
    gain = prior[:, -1] / (SIGMA**2 * SPAN + NOISE**2)
    expected = prior - gain[:, None] * prior[-1]
    variance = expected.diagonal()
    assert ((z.mean(dim=0) - gain * SEEN).abs() <= 6 * (variance / n).sqrt()).all()
    assert ((torch.cov(z.T) - expected).abs() <= 6 * ((variance[:, None] * variance + expected**2) / n).sqrt()).all()


def test_the_cost_of_fine_steps_is_the_path_kl_of_the_steered_equation():
    n, rate, level, pull, target = 4000, 0.5, -0.4, 1.5, 0.8
    sde = ornstein_uhlenbeck(rate, level, SIGMA, n_state=1)
    path, _ = steer(
        sde, torch.ones(n, 1, 1).double(), 1 / 256,
        lambda t, z: (torch.full_like(z, math.log(pull)), torch.full_like(z, target)), HeunMaruyama(),
    )  # fmt: skip
    both = rate + pull
    expected = path_kl(1.0, both, (rate * level + pull * target) / both, SIGMA, rate, level, SPAN)
    error = float(path.cost.std()) / n**0.5
    # one percent for steps of 1/256 at a rate of 2
    assert abs(float(path.cost.mean()) - expected) <= 6 * error + 0.01 * expected
    assert 6 * error < 0.1 * expected


def test_steps_that_are_not_steered_are_those_of_the_equation_and_cost_nothing():
    sde, z = (
        ornstein_uhlenbeck(0.8, 0.3, SIGMA),
        torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(1)).double(),
    )
    path, end = steer(sde, z, 0.3, to_observation, is_steered=False)
    assert torch.equal(path.cost, torch.zeros(3, 2).double())
    motion = draw_brownian(
        torch.tensor([[0.0, 0.3, 0.6, 0.9, 0.9]], dtype=torch.float64).expand(2, -1),
        3,
        2,
        torch.Generator().manual_seed(0),
    )
    for k in range(3):
        z = z + 0.3 * 0.8 * (0.3 - z) + SIGMA * (motion[:, :, k + 1] - motion[:, :, k])
    torch.testing.assert_close(end[:, :, 0], z, rtol=1e-12, atol=1e-12)


def test_a_push_is_known_after_its_time_and_not_at_it():
    z, pushes = torch.zeros(1, 1, 1).double(), torch.tensor([5.0, 0.0, 7.0]).double().view(1, 3, 1)
    after = 1e-10
    _, states = steer(
        Wiener(1), z, 0.3, to_observation, times=[0.0, after, 0.3, 0.6, 0.6 + after], is_steered=False, pushes=pushes
    )  # fmt: skip
    at, step = states.flatten().tolist(), 1e-3
    assert at[0] == 0.0
    assert abs(at[1] - 5.0) < step
    assert abs(at[4] - at[3] - 7.0) < step


def test_a_row_that_leaves_the_finite_numbers_stays_in_its_last_state_and_leaves_the_others_alone():
    z = torch.tensor([[0.5], [2.0], [0.2]]).double()[None]
    path, end = steer(Bursting(1), z, 0.3, to_observation, is_steered=False)
    assert path.status.tolist() == [Status.OK, Status.NON_FINITE, Status.OK]
    assert float(end[0, 1, 0, 0]) == 2.0
    assert path.cost.isfinite().all()
    calm, alone = steer(Bursting(1), z[:, :1], 0.3, to_observation, is_steered=False)
    assert calm.status.tolist() == [Status.OK]
    assert end.isfinite().all()
    assert alone.isfinite().all()

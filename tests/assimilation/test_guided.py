from __future__ import annotations

import math

import pytest
import torch

from tests.assimilation.motions import Channel, Linear, double_well, normal_start, pendulum, run, total
from tests.assimilation.test_particle import (
    CHANNELS,
    NOISE,
    A,
    B,
    assert_one_in_the_mean,
    estimates,
    exact,
    score_of,
    start_of,
)
from tests.assimilation.test_particle import kalman_s_score as truth_of_score
from tsode.assimilation.filters.base import Ahead
from tsode.assimilation.filters.guided import GuidedFilter
from tsode.assimilation.filters.particle import ParticleFilter
from tsode.assimilation.motion import Draws, Seen
from tsode.errors import ParameterError


def poisson(y, s):
    s = s.clamp(min=1e-300)
    return y * s.log() - s - torch.lgamma(y + 1)


def cauchy(y, s):
    return -math.log(math.pi * 0.1) - (1.0 + ((y - s) / 0.1) ** 2).log()


@pytest.mark.parametrize("n_seen", [1, 2])
def test_weights_given_the_ancestor_are_constant_on_a_linear_motion(n_seen):
    """p(seen | ancestor) is the weight of the best proposal there is; equal ancestors then have equal weights."""
    filter, motion, draws = GuidedFilter(300, defensive=0.0), Linear(A, B, NOISE), Draws(torch.arange(2))
    start = normal_start(torch.tensor([[0.3, -0.2]]).double().expand(2, -1), torch.zeros(2, 2).double())
    t, h = torch.zeros(2, dtype=torch.float64), torch.tensor([0.7, 1.3], dtype=torch.float64)
    seen = [c.seen(torch.tensor([2.0, -1.0]).double()) for c in CHANNELS[:n_seen]]
    belief = filter.flow(filter.start(start, motion, t, draws), motion, t, h, draws, Ahead(h, seen))
    assert belief.particles.std(dim=1).min() > 0.1
    evidence = torch.zeros(2, dtype=torch.float64)
    for one in seen:
        belief, log_prob = filter.observe(belief, one, h, draws)
        evidence = evidence + log_prob
    assert (belief.log_weights + math.log(300)).abs().max() < 1e-10
    law = motion.transition(t, start.mean, h)
    readout = torch.tensor([[1.0, 0.0], [0.5, 1.0]], dtype=torch.float64)[:n_seen]
    mean = (law.phi @ start.mean[..., None]).squeeze(-1) + law.shift
    values = torch.tensor([2.0, -1.0]).double()[:, None].expand(-1, n_seen)
    truth = torch.distributions.MultivariateNormal(
        mean @ readout.mT, readout @ law.cov @ readout.mT + 0.25 * torch.eye(n_seen).double()
    ).log_prob(values)
    torch.testing.assert_close(evidence, truth, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("defensive", [0.0, 0.05])
def test_likelihood_is_kalman_s_in_the_mean(defensive):
    log_ratio = estimates(GuidedFilter(20, 0.5, defensive=defensive), 2000) - exact()
    assert log_ratio.std() > 0.05
    assert_one_in_the_mean(log_ratio)


CASES = {  # with the share of the bootstrap filter's variance that is left at most
    "well": (double_well(0.7), lambda z: z[..., 0], 1, 0.1),
    "square of a well": (double_well(0.7), lambda z: z[..., 0] ** 2, 1, 0.1),
    "angle of a pendulum pushed in its speed": (pendulum(0.5), lambda z: z[..., 0], 2, 0.33),
}


def simulated(motion, predict, d: int, sd: float, n: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Times and values of one path, by the filter's own steps."""
    times = 0.5 * torch.arange(1, n + 1, dtype=torch.float64)
    start = normal_start(torch.ones(1, d).double(), torch.full((1, d), 0.3).double())
    nothing = [Channel(lambda z: z[..., 0], 1.0)]
    values = torch.full((1, n, 1), torch.nan, dtype=torch.float64)
    visits = run(ParticleFilter(2), motion, start, times, values, nothing, 4, seed=7)
    path = torch.stack([visit.belief.particles[0, 0] for visit in visits])
    noise = torch.randn(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return times, predict(path[:, None])[:, 0] + sd * noise


def both(name: str, sd: float, r: int, m: int, n_steps: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Log likelihoods of the bootstrap and the guided filter of the same data, (r,) each."""
    motion, predict, d, _ = CASES[name]
    times, values = simulated(motion, predict, d, sd)
    start = normal_start(torch.ones(r, d).double(), torch.full((r, d), 0.3).double())
    values = values[:, None].expand(r, -1, -1)
    filters = ParticleFilter(m), GuidedFilter(m)
    one, other = (total(run(f, motion, start, times, values, [Channel(predict, sd)], n_steps)) for f in filters)
    return one, other


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_guiding_makes_the_log_likelihood_of_exact_observations_far_less_variable(name):
    bootstrap, guided = both(name, 0.02, 100, 200)
    assert guided.isfinite().all()
    assert guided.var() < CASES[name][-1] * bootstrap.var()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_guided_and_bootstrap_likelihoods_are_the_same_in_the_mean(name):
    bootstrap, guided = both(name, 0.3, 250, 120)
    one, other = (bootstrap - guided.mean()).exp(), (guided - guided.mean()).exp()
    se = math.sqrt(float(one.var() + other.var()) / 250)
    assert abs(float(one.mean() - other.mean())) < 3.0 * se
    assert se < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("law", [poisson, cauchy])
def test_noise_that_is_not_normal_is_guided_to_the_same_likelihood(law):
    motion, r = double_well(0.7), 1000
    times = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64)
    values = torch.tensor([2.0, 0.0, 5.0]).double()[None, :, None].expand(r, -1, -1)
    start = normal_start(torch.ones(r, 1).double(), torch.full((r, 1), 0.3).double())
    channel = [Channel(lambda z: 1.0 + z[..., 0] ** 2, law=law)]
    bootstrap, guided = (
        total(run(f, motion, start, times, values, channel, 3)) for f in (ParticleFilter(100), GuidedFilter(100))
    )
    one, other = (bootstrap - guided.mean()).exp(), (guided - guided.mean()).exp()
    se = math.sqrt(float(one.var() + other.var()) / r)
    assert abs(float(one.mean() - other.mean())) < 3.0 * se
    assert guided.var() < bootstrap.var()


def test_predictions_that_hardly_move_lead_no_particle_out_of_the_range_of_numbers():
    """The square of a state near zero: linear aims would be far, and the cubic rates explode from there."""
    r = 50
    start = normal_start(torch.zeros(r, 1).double(), torch.full((r, 1), 1e-3).double())
    values = torch.full((r, 1, 1), 2.0, dtype=torch.float64)
    channel = Channel(lambda z: z[..., 0] ** 2, 0.001)
    visits = run(GuidedFilter(100), double_well(0.7), start, torch.tensor([0.1]), values, [channel], 2)
    assert total(visits).isfinite().all()
    assert visits[-1].steps[-1][3].particles.isfinite().all()


def test_without_an_observation_ahead_it_is_the_bootstrap_filter():
    motion, draws, t = Linear(A, B, NOISE), Draws(torch.arange(3)), torch.zeros(3, dtype=torch.float64)
    h = torch.full_like(t, 0.4)
    missing = [CHANNELS[0].seen(torch.full((3,), torch.nan).double())]
    beliefs = [
        filter.flow(filter.start(start_of(3), motion, t, draws), motion, t, h, draws, ahead)
        for filter, ahead in [
            (ParticleFilter(20), None),
            (GuidedFilter(20), None),
            (GuidedFilter(20), Ahead(h, missing)),
            (GuidedFilter(20), Ahead(torch.full_like(t, torch.nan), missing)),
        ]
    ]
    for other in beliefs[1:]:
        assert torch.equal(other.particles, beliefs[0].particles)
        assert torch.equal(other.log_weights, beliefs[0].log_weights)


@pytest.mark.slow
def test_gradient_is_kalman_s_score_in_the_mean():
    mean, se = score_of(GuidedFilter(500, differentiable=True), 300)
    truth = truth_of_score()
    assert ((mean - truth).abs() < 4.0 * se).all()
    assert (se < 0.05 * truth.abs().max()).all()


def test_a_share_that_is_never_guided_is_less_than_one():
    with pytest.raises(ParameterError, match="share of draws that are not guided"):
        GuidedFilter(10, defensive=1.0)


def test_a_value_beyond_a_limit_is_aimed_at_by_its_own_likelihood():
    """Rows 0 and 1 see values, row 2 that the state lies above 2; means over draws are the bootstrap filter's."""
    r, motion = 1500, double_well(0.7)
    value = torch.tensor([0.5, 1.2, torch.nan], dtype=torch.float64).repeat(r // 3)
    is_above = value.isnan()
    filled = torch.where(is_above, 2.0, value)[:, None]

    def log_prob(s):
        inside = -0.5 * ((filled - s) / 0.2) ** 2 - math.log(0.2 * math.sqrt(2 * math.pi))
        return torch.where(is_above[:, None], torch.special.log_ndtr((s - filled) / 0.2), inside)

    variance = torch.full_like(value, 0.04)
    seen = Seen(torch.ones(r, dtype=torch.bool), lambda z: z[..., 0], log_prob, value, variance)
    start = normal_start(torch.ones(r, 1).double(), torch.full((r, 1), 0.3).double())
    t, h, draws = torch.zeros(r).double(), torch.full((r,), 0.3).double(), Draws(torch.arange(r))
    found = []
    for filter in (ParticleFilter(100), GuidedFilter(100)):
        belief = filter.flow(filter.start(start, motion, t, draws), motion, t, h, draws, Ahead(h, [seen]))
        found.append(filter.observe(belief, seen, h, draws)[1].reshape(-1, 3))
    bootstrap, guided = found
    assert (guided.var(dim=0) < 0.5 * bootstrap.var(dim=0)).all()
    one, other = (bootstrap - guided.mean(dim=0)).exp(), (guided - guided.mean(dim=0)).exp()
    se = ((one.var(dim=0) + other.var(dim=0)) / len(one)).sqrt()
    assert ((one.mean(dim=0) - other.mean(dim=0)).abs() < 3.0 * se).all()

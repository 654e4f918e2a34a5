from __future__ import annotations

import math

import pytest
import torch

from tests.assimilation.motions import (
    Channel,
    Linear,
    LinearInSteps,
    double_well,
    kalman,
    normal_start,
    run,
    total,
)
from tsode.assimilation.filters.particle import ParticleFilter, effective_size
from tsode.assimilation.motion import Draws
from tsode.assimilation.noisy_step import NoisyStep
from tsode.errors import ParameterError
from tsode.evolutions.linear_sde import discretise

INF, NAN = math.inf, math.nan
A = torch.tensor([[-0.6, 0.8], [-0.8, -0.2]], dtype=torch.float64)
B = torch.tensor([0.3, 0.0], dtype=torch.float64)
NOISE = torch.tensor([[0.5, 0.0], [0.2, 0.6]], dtype=torch.float64)
TIMES = torch.tensor([0.0, 0.7, 1.1, 2.0, 2.0, 3.5], dtype=torch.float64)
VALUES = torch.tensor([[0.5, NAN], [1.2, -0.3], [NAN, NAN], [0.1, -0.9], [0.4, NAN], [NAN, 0.8]]).double()
READOUT = torch.tensor([[1.0, 0.0], [0.5, 1.0]], dtype=torch.float64)
SD = 0.5
CHANNELS = [Channel(lambda z: z[..., 0], SD), Channel(lambda z: 0.5 * z[..., 0] + z[..., 1], SD)]


def start_of(r: int):
    return normal_start(torch.zeros(r, 2).double(), torch.ones(r, 2).double())


def exact() -> float:
    variance = torch.full((2,), SD**2, dtype=torch.float64)
    eye = torch.eye(2, dtype=torch.float64)
    return float(kalman(Linear(A, B, NOISE), eye[0] * 0, eye, TIMES, VALUES, READOUT, variance)[0])


def estimates(filter, r: int, motion=None, n_steps: int = 1):
    motion = motion or Linear(A, B, NOISE)
    return total(run(filter, motion, start_of(r), TIMES, VALUES.expand(r, -1, -1), CHANNELS, n_steps))


def assert_one_in_the_mean(log_ratio: torch.Tensor) -> None:
    ratio = log_ratio.exp()
    assert abs(float(ratio.mean()) - 1.0) < 3.0 * float(ratio.std()) / math.sqrt(len(ratio))


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_likelihood_is_kalman_s_in_the_mean_at_any_threshold(threshold):
    log_ratio = estimates(ParticleFilter(50, threshold), 2000) - exact()
    assert log_ratio.std() > 0.1  # else the mean would say little
    assert_one_in_the_mean(log_ratio)


@pytest.mark.slow
def test_error_of_the_log_likelihood_falls_with_the_root_of_the_number_of_particles():
    few, many = (estimates(ParticleFilter(n), 300) - exact() for n in (100, 1600))
    # sd of a ratio of two sample sds is 6 % of it
    assert 2.8 < float(few.std() / many.std()) < 5.4
    assert float(many.std()) < 0.12


def test_likelihood_of_a_double_well_is_that_of_its_square_seen_with_poisson_counts_by_quadrature():
    # one step to one count: the law of the step is a normal about a map of the start, so quadrature has the answer
    motion, h, count = double_well(0.7), 0.4, 3.0
    law = Channel(lambda z: z[..., 0] ** 2, law=lambda y, s: y * s.clamp(min=1e-300).log() - s - torch.lgamma(y + 1))
    start = normal_start(torch.full((1, 1), 0.8).double(), torch.full((1, 1), 0.5).double())
    nodes = torch.linspace(-8, 8, 1001, dtype=torch.float64)
    spread = nodes[1] - nodes[0]
    weight = (-0.5 * nodes**2).exp() * spread / math.sqrt(2 * math.pi)
    t = torch.zeros(1, dtype=torch.float64)
    half = torch.full((1,), h / 2, dtype=torch.float64)
    early = motion.moved(t, (0.8 + 0.5 * nodes)[None, :, None], half)
    midway = early[:, :, None, 0] + 0.7 * math.sqrt(h) * nodes
    end = motion.moved(t, midway.reshape(1, -1, 1), half)
    p = law.seen(torch.tensor([count]).double()).log_prob(end[..., 0] ** 2).exp().nan_to_num().reshape(1001, 1001)
    truth = float((weight[:, None] * weight * p).sum())
    r = 2000
    wide = normal_start(start.mean.expand(r, -1), start.sd.expand(r, -1))
    values = torch.full((r, 2, 1), NAN).double()
    values[:, 1] = count
    visits = run(ParticleFilter(30), motion, wide, torch.tensor([0.0, h]), values, [law])
    assert_one_in_the_mean(total(visits) - math.log(truth))


def covariance_in_steps(n: int) -> torch.Tensor:
    """Of the state after time 1 from a known one, by `n` steps of equal length."""
    motion = LinearInSteps(A, B, NOISE)
    t, h = torch.zeros(1, dtype=torch.float64), torch.full((1,), 1.0 / n, dtype=torch.float64)
    z = torch.cat([torch.zeros(1, 2), torch.eye(2)]).double()[None]
    step = NoisyStep.of(motion, t, z, h)
    free = step.finish(step.noisy(torch.zeros(1, 3, 2, dtype=torch.float64)))[0]
    phi = (free[1:] - free[0]).mT
    xi = torch.cat([torch.zeros(1, 2), torch.eye(2)]).double()[None]
    from_origin = NoisyStep.of(motion, t, 0.0 * z, h)
    moved = from_origin.finish(from_origin.noisy(xi))[0]
    root = (moved[1:] - moved[0]).mT
    cov = torch.zeros(2, 2, dtype=torch.float64)
    for _ in range(n):
        cov = phi @ cov @ phi.mT + root @ root.mT
    return cov


def test_steps_of_an_equation_converge_to_its_exact_law_by_the_square_of_their_length():
    truth = discretise(A, B, NOISE, torch.tensor(1.0, dtype=torch.float64)).cov
    errors = [float((covariance_in_steps(n) - truth).abs().max()) for n in (4, 8, 16)]
    assert errors[0] < 0.01
    assert 3.8 < errors[0] / errors[1] < 4.2
    assert 3.9 < errors[1] / errors[2] < 4.1


def test_rows_do_not_see_each_other_and_more_particles_begin_with_fewer():
    filter, motion = ParticleFilter(40), Linear(A, B, NOISE)
    three = run(filter, motion, start_of(3), TIMES, VALUES.expand(3, -1, -1), CHANNELS)
    seed = torch.tensor([2])
    alone = run(filter, motion, start_of(1), TIMES, VALUES[None], CHANNELS, seed=seed)
    torch.testing.assert_close(total(three)[2:], total(alone), rtol=1e-12, atol=1e-12)
    draws, t = Draws(torch.arange(2)), torch.zeros(2).double()
    few, many = (ParticleFilter(n).start(start_of(2), motion, t, draws).particles for n in (10, 30))
    assert torch.equal(few, many[:, :10])


def test_a_row_without_a_step_or_a_value_comes_back_bit_for_bit():
    filter, motion, draws = ParticleFilter(20, 1.0), Linear(A, B, NOISE), Draws(torch.arange(2))
    t = torch.zeros(2, dtype=torch.float64)
    belief = filter.start(start_of(2), motion, t, draws)
    belief, evidence = filter.observe(belief, CHANNELS[0].seen(torch.tensor([0.3, NAN]).double()), t, draws)
    assert evidence[1] == 0.0
    assert evidence[0] != 0.0
    assert belief.is_due.tolist() == [True, False]
    after = filter.flow(belief, motion, t, torch.tensor([0.0, 0.5]).double(), draws)
    for new, old in zip(after, belief):
        assert torch.equal(new[0], old[0])
    assert not torch.equal(after.particles[1], belief.particles[1])


def test_impossible_data_have_no_floor_and_harm_no_other_row():
    law = Channel(lambda z: z[..., 0], law=lambda y, s: torch.where((s - y).abs() < 0.5, 0.0, -INF))
    values = torch.tensor([[0.0, 50.0, 0.0], [0.0, 0.1, 0.0]], dtype=torch.float64)[..., None]
    visits = run(ParticleFilter(50), Linear(A, B, NOISE), start_of(2), torch.tensor([0.0, 0.5, 1.0]), values, [law])
    evidence = torch.cat([visit.evidence for visit in visits], dim=1)
    assert evidence[0, 0].isfinite()
    assert (evidence[0, 1:] == -INF).all()
    assert evidence[1].isfinite().all()
    last = visits[-1].belief
    assert (last.log_weights[0] == -INF).all()
    assert effective_size(last.log_weights)[0] == 0.0
    members = ParticleFilter(50).members(last, 10, torch.ones(2).double(), Draws(torch.arange(2)))
    assert members[0].isnan().all()
    assert members[1].isfinite().all()


def test_members_are_drawn_by_weight():
    filter, draws, t = ParticleFilter(4), Draws(torch.arange(4000)), torch.zeros(4000, dtype=torch.float64)
    motion = Linear(A[:1, :1], B[:1], NOISE[:1, :1])
    start = normal_start(torch.zeros(4000, 1).double(), torch.ones(4000, 1).double())
    belief = filter.start(start, motion, t, draws)
    share = torch.tensor([0.1, 0.0, 0.6, 0.3], dtype=torch.float64)
    belief = belief._replace(
        particles=torch.arange(4.0)[:, None].double().expand(4000, 4, 1), log_weights=share.log().expand(4000, 4)
    )
    first = filter.members(belief, 3, t, draws)[:, 0, 0].long()
    found = torch.nn.functional.one_hot(first, 4).double().mean(dim=0)
    assert ((found - share).abs() <= 6 * (share * (1 - share) / 4000).sqrt()).all()


def test_an_event_moves_every_particle():
    filter, draws, t = ParticleFilter(5), Draws(torch.arange(2)), torch.zeros(2, dtype=torch.float64)
    belief = filter.start(start_of(2), Linear(A, B, NOISE), t, draws)
    factor, shift = torch.tensor([[1.0, 0.0], [2.0, 1.0]]).double(), torch.tensor([[0.0, 3.0], [0.0, 1.0]]).double()
    after = filter.change(belief, factor, shift).particles
    torch.testing.assert_close(after, belief.particles * factor[:, None] + shift[:, None])


def score_of(filter, r: int, n_steps: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean gradients by rate and noise of the log likelihood over rows, and their standard errors."""
    theta = torch.tensor([0.8, 0.5], dtype=torch.float64).expand(r, -1).clone().requires_grad_()

    class Own(Linear):
        """Scalar Ornstein-Uhlenbeck motion, with a rate and a noise of each row's own."""

        def transition(self, t, z, h):
            rate, s = theta[:, 0], theta[:, 1]
            law = super().transition(t, z, h)
            phi = (-rate * h).exp()
            cov = s**2 * (1 - phi**2) / (2 * rate)
            return type(law)(phi[:, None, None], 0 * phi[:, None], cov[:, None, None])

    one = torch.ones(1, 1, dtype=torch.float64)
    start = normal_start(torch.zeros(r, 1).double(), torch.ones(r, 1).double())
    times, values = TIMES[:4], torch.tensor([1.5, 2.4, 0.8, -1.4]).double()[:, None].expand(r, -1, -1)
    log_prob = total(run(filter, Own(-one, 0 * one[0], one), start, times, values, CHANNELS[:1], n_steps))
    (score,) = torch.autograd.grad(log_prob.sum(), theta)
    return score.mean(dim=0), score.std(dim=0) / math.sqrt(r)


def kalman_s_score() -> torch.Tensor:
    theta = torch.tensor([0.8, 0.5], dtype=torch.float64, requires_grad=True)
    one = torch.ones(1, dtype=torch.float64)
    motion = Linear(-theta[0] * one[:, None], 0 * one, theta[1] * one[:, None])
    values = torch.tensor([1.5, 2.4, 0.8, -1.4]).double()[:, None]
    log_prob, _ = kalman(motion, 0 * one, one[:, None], TIMES[:4], values, one[:, None], SD**2 * one)
    return torch.autograd.grad(log_prob, theta)[0]


@pytest.mark.parametrize("threshold", [0.5, 1.0])
def test_gradient_is_kalman_s_score_in_the_mean(threshold):
    # the logarithm's bias is of order 1/m: below a twentieth of Kalman's score, and below the standard errors
    mean, se = score_of(ParticleFilter(1000, threshold, differentiable=True), 300)
    truth = kalman_s_score()
    assert ((mean - truth).abs() < 4.0 * se).all()
    assert (se < 0.05 * truth.abs().max()).all()


def test_without_being_asked_nothing_carries_a_gradient():
    rate = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
    motion = LinearInSteps(rate * A, B, NOISE)
    assert not estimates(ParticleFilter(10), 2, motion).requires_grad
    assert estimates(ParticleFilter(10, differentiable=True), 2, motion).requires_grad


def test_wrong_settings_are_named():
    with pytest.raises(ParameterError, match="n_particles must be a whole number"):
        ParticleFilter(1)
    with pytest.raises(ParameterError, match="threshold is a share"):
        ParticleFilter(10, 1.5)

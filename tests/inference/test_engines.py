from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy.integrate import quad

from tests.inference.densities import Decay, Normal, two_modes
from tests.inference.test_density import evaluator_of
from tsode.errors import UnknownNameError
from tsode.inference.density import select
from tsode.inference.draws import Posterior
from tsode.inference.engines.mode import find_modes
from tsode.inference.engines.rest import is_at_rest
from tsode.inference.infer import ENGINES, infer
from tsode.inference.loo import leave_one_out
from tsode.inference.settings import Settings

# exponential decay, by quadrature: means and standard deviations of k and A, log evidence, leave-one-out densities
MEAN, SD = torch.tensor([[0.4628011608, 9.8265125821]]).double(), torch.tensor([[0.0579907995, 0.7121387012]]).double()
LOG_EVIDENCE, CORRELATION = -4.572800802802, 0.7711657547
LEAVE_ONE_OUT = torch.tensor([-0.877313179, -0.708949926, -0.574905369, -0.601658489, -0.437631403]).double()


def natural(u: torch.Tensor) -> torch.Tensor:
    return torch.stack([u[..., 0].exp(), u[..., 1]], dim=-1)


def moments(posterior: Posterior) -> tuple[torch.Tensor, torch.Tensor]:
    mean = posterior.expect(natural)
    return mean, (posterior.expect(lambda u: natural(u) ** 2) - mean**2).sqrt()


def decay_by_conjugacy() -> tuple[float, float, float]:
    """Log evidence, and the means of k and A: over A in closed form, over log k by an adaptive rule."""
    t, y = Decay.times, Decay().values[0]

    def given(log_k: float) -> tuple[float, float]:
        x = torch.exp(-math.exp(log_k) * t)
        precision = 1.0 / 4.0 + float((x**2).sum()) / 0.25
        mean = (10.0 / 4.0 + float((x * y).sum()) / 0.25) / precision
        square = float((y**2).sum()) / 0.25 + 100.0 / 4.0 - mean**2 * precision
        log_prior = -0.5 * ((log_k - math.log(0.5)) / 0.5) ** 2 - math.log(0.5) - 0.5 * math.log(2 * math.pi)
        log_marginal = -0.5 * square - 2.5 * math.log(2 * math.pi * 0.25) - 0.5 * math.log(4.0 * precision)
        return math.exp(log_prior + log_marginal), mean

    def integral(f) -> float:
        return quad(f, -2.5, 1.0, epsabs=1e-15, epsrel=1e-12, points=[-0.8])[0]

    evidence = integral(lambda s: given(s)[0])
    k = integral(lambda s: given(s)[0] * math.exp(s)) / evidence
    return math.log(evidence), k, integral(lambda s: math.prod(given(s))) / evidence


def test_quadrature_is_exact_to_a_millionth():
    posterior = infer(Decay(), "quadrature", 0)
    log_evidence, k, a = decay_by_conjugacy()
    mean, sd = moments(posterior)
    assert abs(float(posterior.log_evidence) - log_evidence) < 1e-8
    torch.testing.assert_close(mean, torch.tensor([[k, a]], dtype=torch.float64), rtol=1e-8, atol=0)
    assert abs(float(posterior.log_evidence) - LOG_EVIDENCE) < 1e-6
    torch.testing.assert_close(mean, MEAN, rtol=1e-6, atol=0)
    torch.testing.assert_close(sd, SD, rtol=1e-6, atol=0)
    later = Decay.expected(posterior.nodes, torch.tensor([8.0], dtype=torch.float64))[0, :, 0]
    weight = posterior.log_weights[0].exp()
    center = float((weight * later).sum())
    assert abs(center - 0.2620475174) < 1e-6
    assert abs(float((weight * (later - center) ** 2).sum()) ** 0.5 - 0.1048267182) < 1e-6


@pytest.mark.parametrize("engine", ["auto", "quadrature", "importance", "hmc"])
def test_engines_agree_with_quadrature_on_exponential_decay(engine):
    density = Decay()
    posterior = infer(density, engine, 0)
    mean, sd = moments(posterior)
    assert ((mean - MEAN).abs() < 0.05 * SD).all()
    assert ((sd / SD - 1.0).abs() < 0.05).all()
    draws = natural(posterior.draws[0].flatten(0, 1))
    assert ((draws.mean(0) - MEAN[0]).abs() < 0.1 * SD[0]).all()
    assert abs(float(torch.corrcoef(draws.T)[0, 1]) - CORRELATION) < 0.04
    assert abs(float(posterior.log_evidence) - LOG_EVIDENCE) < 0.03
    is_rule = posterior.engine[0] == "quadrature"
    loo = leave_one_out(density.pointwise(posterior.nodes), log_weights=posterior.log_weights, is_rule=is_rule)
    assert ((loo.pointwise[0] - LEAVE_ONE_OUT).abs() < 0.05).all()
    assert loo.is_reliable.all()
    assert posterior.problems == ((),)


@pytest.mark.parametrize("engine", ["importance", "hmc"])
@pytest.mark.parametrize(("p", "correlation"), [(1, 0.0), (8, 0.9), pytest.param(30, 0.99, marks=pytest.mark.slow)])
def test_engines_are_right_on_normal_laws(engine, p, correlation):
    density = Normal(p, correlation, problems=(0, 2))
    posterior = infer(density, engine, 1)
    ess = float(posterior.ess_bulk.min())
    assert ess > 1000
    root = torch.linalg.inv(torch.linalg.cholesky(density.covariance))  # along any direction, not the axes alone
    error = (posterior.mean - density.mean) @ root.T
    assert float(error.abs().max()) < 6.0 / ess**0.5
    covariance = root @ posterior.covariance @ root.T
    assert float((covariance - torch.eye(p, dtype=torch.float64)).abs().max()) < 6.0 * (2.0 / ess) ** 0.5
    evidence_error = (posterior.log_evidence - torch.tensor([0.0, 2.0], dtype=torch.float64)).abs()
    assert (evidence_error < 6.0 * posterior.log_evidence_se).all()
    assert (posterior.log_evidence_se < 0.03).all()
    if engine == "hmc":
        assert float(posterior.rhat.max()) < 1.02
    assert posterior.draws.shape == (2, 64, 64, p)


@pytest.mark.parametrize("p", [1, 2])
def test_quadrature_is_exact_on_normal_laws(p):
    density = Normal(p, 0.95 if p > 1 else 0.0, problems=(0, 2))
    posterior = infer(density, "quadrature", 0)
    torch.testing.assert_close(posterior.mean, density.mean, rtol=0, atol=1e-9)
    torch.testing.assert_close(posterior.covariance, density.covariance.expand(2, p, p), rtol=1e-9, atol=0)
    torch.testing.assert_close(posterior.log_evidence, torch.tensor([0.0, 2.0]).double(), rtol=0, atol=1e-9)
    draws = posterior.draws.flatten(1, 2)
    torch.testing.assert_close(draws.mean(1), density.mean, rtol=0, atol=0.05)
    torch.testing.assert_close(draws.std(1), torch.ones(2, p).double(), rtol=0.05, atol=0)


@pytest.mark.slow
def test_chains_carry_two_modes_by_their_masses():
    posterior = infer(two_modes(4, weight=0.3), "hmc", 0)
    assert float(posterior.rhat.max()) < 1.02
    share = float((posterior.draws[..., 0] > 0).double().mean())
    assert abs(share - 0.3) < 6.0 * (0.21 / float(posterior.ess_bulk.min())) ** 0.5
    assert abs(float(posterior.log_evidence)) < 6.0 * float(posterior.log_evidence_se)


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_a_problem_alone_has_the_draws_that_it_has_among_others(engine):
    density = Decay(Decay().values + torch.tensor([[0.0], [0.4], [-0.3]], dtype=torch.float64))
    settings = Settings(n_prior=512, n_starts=8, n_importance=1024, n_draws=512, n_warm_up=8, n_block=8, most_blocks=2)
    together = infer(density, engine, 5, settings)
    alone = infer(select(density, torch.tensor([1])), engine, 5, settings, keys=[1])
    torch.testing.assert_close(together.draws[1], alone.draws[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(together.log_evidence[1:2], alone.log_evidence, rtol=1e-8, atol=1e-8, equal_nan=True)


def test_one_seed_gives_one_answer_and_another_seed_another():
    first, again, other = (infer(Normal(3), "importance", seed) for seed in (1, 1, 2))
    assert torch.equal(first.draws, again.draws)
    assert not torch.equal(first.draws, other.draws)


def test_draws_that_are_too_narrow_drift_and_right_ones_rest():
    density = Normal(8, 0.9)
    evaluator = evaluator_of(density)
    modes = find_modes(evaluator, Settings())
    right = ENGINES["importance"](evaluator, modes, Settings())
    assert is_at_rest(evaluator, right, Settings()).all()
    mean = right.mean[:, None, None]
    assert not is_at_rest(evaluator, replace(right, draws=mean + 0.7 * (right.draws - mean)), Settings()).any()
    cut = right.draws.where(right.draws[..., :1] < 1.0, mean.expand_as(right.draws))  # a sixth is missing
    assert not is_at_rest(evaluator, replace(right, draws=cut), Settings()).any()


@pytest.mark.slow
def test_thirty_coordinates_with_correlations_of_99_per_cent_are_answered_without_a_problem():
    density = Normal(30, 0.99)
    posterior = infer(density, random_state=0)
    assert posterior.problems == ((),)
    assert float((posterior.sd - 1.0).abs().max()) < 6.0 / float(posterior.ess_bulk.min()) ** 0.5
    assert abs(float(posterior.log_evidence)) < 6.0 * float(posterior.log_evidence_se)


def test_an_unknown_engine_is_named_with_the_known_ones():
    with pytest.raises(UnknownNameError, match="importance"):
        infer(Normal(1), "importnce")

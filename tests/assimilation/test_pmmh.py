from __future__ import annotations

import math

import pytest
import torch

from tests.assimilation.ou_density import ByKalman, ByParticles
from tsode.assimilation.filters.particle import ParticleFilter
from tsode.inference.infer import infer
from tsode.inference.settings import Settings


def test_likelihood_that_is_estimated_is_the_exact_one_in_the_mean():
    u = torch.tensor([-0.4, -0.2], dtype=torch.float64).expand(1, 800, 2)
    log_ratio = (ByParticles(ParticleFilter(40), k=3).log_prob(u) - ByKalman().log_prob(u))[0]
    ratio = log_ratio.exp()
    assert abs(float(ratio.mean()) - 1.0) < 3.0 * float(ratio.std()) / math.sqrt(800)
    assert float(log_ratio.std()) > 0.3


@pytest.mark.slow
def test_twenty_particles_have_the_posterior_of_the_exact_likelihood():
    settings = Settings(n_prior=512, n_starts=8, most_blocks=5)
    truth = infer(ByKalman(), "quadrature", 0)
    posterior = infer(ByParticles(ParticleFilter(20)), "pmmh", 0, settings)
    assert (posterior.ess_bulk > 400).all()
    assert (posterior.rhat < 1.03).all()
    se = truth.sd / posterior.ess_bulk.sqrt()
    assert ((posterior.mean - truth.mean).abs() < 4.0 * se).all()
    assert ((posterior.sd / truth.sd).log().abs() < 4.0 / posterior.ess_bulk.sqrt()).all()
    # and not that of one estimate kept for all points, nor the prior
    assert (se < 0.05 * truth.sd).all()

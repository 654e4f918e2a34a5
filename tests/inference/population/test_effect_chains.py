"""Scores by chains of effects: their means against closed forms and exact gradients."""

from __future__ import annotations

import pytest
import torch

from tests.inference.population.known_populations import decays, shared
from tests.inference.population.normal_samples import normal_sample
from tests.inference.population.test_methods import lines
from tsode.inference.population.effect_chains import EffectChains
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods import METHODS
from tsode.inference.population.series_scores import series_scores
from tsode.inference.priors import LogNormal

N_STEPS, N_BURN = 150, 10


def mean_scores(density: MarginalDensity, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Means of scores (n p) along chains, and standard errors by ten blocks of them."""
    chains = EffectChains(density.subjects, theta, torch.Generator().manual_seed(0), 4)
    found = torch.stack([chains.scores(theta)[:, 0] for _ in range(N_STEPS + N_BURN)])[N_BURN:]
    blocks = found.unflatten(0, (10, -1)).mean(dim=1)
    return found.mean(dim=0), blocks.std(dim=0) / 10**0.5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sample", "lines", "decays"])
def test_scores_by_chains_are_those_of_the_marginal_likelihood(kind):
    if kind == "decays":
        joint = decays(effects={"ke": LogNormal(-1.2, 0.5)}, cv=LogNormal(-1.2, 0.5))
        density = MarginalDensity(joint, METHODS["quadrature"]())
        values = {"ke": 0.6, "cv": 0.25, "omega_ke": 0.35}
    else:
        density = normal_sample() if kind == "sample" else MarginalDensity(lines(), METHODS["fo"]())
        values = {"a": 1.4, "omega_a": 0.7} if kind == "sample" else {"a": 1.2, "b": 0.3}
    theta = shared(density.subjects, values)[0]
    n, _, q = density.subjects.shape
    _, exact, _ = series_scores(density, theta, torch.zeros(n, 1, 1, q, dtype=torch.float64))
    mean, error = mean_scores(density, theta)
    assert float(((mean - exact[:, 0]).abs() / (6.0 * error + 1e-3)).max()) < 1.0
    assert float(error.max()) < 0.2 * float(exact.abs().max())

"""Stochastic ascent: it ends where exact likelihoods have their top, also with six effects."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.inference.known_examples import observations
from tests.inference.population.normal_samples import normal_sample
from tsode.errors import SolverError
from tsode.inference.effects.random_effects import RandomEffects
from tsode.inference.effects.space import Population
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise import AdditiveNoise
from tsode.inference.population.estimate import maximum_likelihood
from tsode.inference.population.infer import problems_of
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods import METHODS
from tsode.inference.population.methods.stochastic import Stochastic
from tsode.inference.population.series_scores import observed_information, series_scores
from tsode.inference.population.stochastic import maximum_by_chains
from tsode.inference.priors import LogNormal, Normal

NAMES = ["a", "b", "c", "d", "e", "f"]


def curves() -> KnownDensity:
    """Sums of six curves, each series with its own share of all: a linear mixed model, for which FO is exact."""
    generator, times, n = np.random.default_rng(0), np.linspace(0.0, 3.0, 9), 40
    parts = np.cos(np.outer(np.arange(6), times))
    shares = 1.0 + np.array([0.5, 0.6, 0.4, 0.5, 0.7, 0.5]) * generator.standard_normal((n, 6))
    values = shares @ parts + 0.1 * generator.standard_normal((n, 9))

    def level(t, z, p):
        shares = (p.a, p.b, p.c, p.d, p.e, p.f)
        return z[:, 0] + sum(share * (k * t).cos() for k, share in enumerate(shares))

    system = KnownSystem(
        lambda t, z, p: (0.0 * z[:, 0],), ["z"], {**dict.fromkeys(NAMES, Normal(0.5, 1.0)), "sd": LogNormal(-2.0, 0.5)},
        {"z": 0.0}, {"y": AdditiveNoise(level, sd="sd")}, population=Population(RandomEffects.read(NAMES)),
    )  # fmt: skip
    return KnownDensity(system, observations(times, values[..., None], ids=range(n)))


@pytest.mark.slow
def test_six_effects_of_a_linear_model_end_at_the_top_of_its_closed_form():
    joint = curves()
    density = MarginalDensity(joint, Stochastic(n=64))
    start = torch.zeros(1, len(density.names), dtype=torch.float64)
    found = maximum_by_chains(density, torch.Generator().manual_seed(0), start=start)
    assert bool(found.is_done[0])
    assert not problems_of(found, density)
    exact, modes = MarginalDensity(joint, METHODS["fo"]()), found.eta[:, None, None]
    _, scores, _ = series_scores(exact, found.theta[None], modes.clone())
    gradient = scores[:, 0].sum(dim=0)
    information = observed_information(exact, found.theta, scores[:, 0], modes)
    assert 0.5 * float(gradient @ torch.linalg.solve(information, gradient)) < 0.02  # nats to the top
    errors = torch.linalg.inv(information).diagonal()
    torch.testing.assert_close(found.covariance.diagonal(), errors, rtol=0.1, atol=0.0)


@pytest.mark.slow
def test_starts_from_the_prior_come_to_the_same_and_a_time_limit_is_told():
    joint = normal_sample(sd=0.3).joint
    density = MarginalDensity(joint, Stochastic(n=64))
    exact = maximum_likelihood(normal_sample(), torch.Generator().manual_seed(0), 1, 16)
    found = maximum_by_chains(density, torch.Generator().manual_seed(1), 3, 16)
    torch.testing.assert_close(found.theta, exact.theta, rtol=0.0, atol=0.05)
    short = maximum_by_chains(density, torch.Generator().manual_seed(1), 3, 16, max_seconds=1e-9)
    assert any(text.startswith("unfinished: stopped after max_seconds") for text in problems_of(short, density))


def test_no_start_with_a_likelihood_is_an_error_that_says_what_to_look_at():
    density = MarginalDensity(normal_sample(np.array([1e200, 1.0])).joint, Stochastic(n=8))
    with pytest.raises(SolverError, match="None of 8 draws of the prior"):
        maximum_by_chains(density, torch.Generator().manual_seed(0), 1, 8)

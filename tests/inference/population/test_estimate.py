"""Maximum likelihood: theophylline beside published numbers, and what is said where something is wrong."""

from __future__ import annotations

import math

import pytest
import torch

from tests.benchmarks.population_parts.theophylline import ERRORS, FOCEI, PUBLISHED, ROUGH, _fit
from tests.inference.population.known_populations import decays, theophylline
from tsode.errors import SolverError
from tsode.inference.noise import AdditiveNoise, LogNormalNoise
from tsode.inference.population.estimate import maximum_likelihood
from tsode.inference.population.infer import problems_of
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods import METHODS
from tsode.inference.priors import LogNormal


@pytest.mark.slow
def test_theophylline_by_focei_has_the_published_objective_estimates_and_errors():
    joint = theophylline()
    density = MarginalDensity(joint, METHODS["focei"]())
    found = _fit(density, [ROUGH])
    assert found.objective == pytest.approx(FOCEI, abs=0.01)
    assert bool(found.is_done[0])
    assert bool(found.is_found.all())
    values = {name: float(joint.space.priors[name].constrain(u)[0]) for name, u in zip(density.names, found.theta)}
    for name, published in PUBLISHED.items():
        assert values[name] == pytest.approx(published, rel=0.01)
    width = {name: joint.space.priors[name].width for name in density.names}
    width["sd"] *= values["sd"]
    for name, se in zip(density.names, found.sandwich.diagonal().sqrt().tolist()):
        if name in ERRORS:
            assert width[name] * se == pytest.approx(ERRORS[name], rel=0.05)
    # scores of series add up to nothing at the top
    assert float(found.scores.sum(dim=0).abs().max()) < 1e-2
    assert found.n_observations == 132


def known_noise(method: str) -> MarginalDensity:
    noise = AdditiveNoise("c", sd=0.5)
    return MarginalDensity(decays(noise=noise, effects={"ke": LogNormal(-1.5, 0.5)}, unread=LogNormal(0.0, 1.0)),
                           METHODS[method]())  # fmt: skip


def test_a_parameter_that_nothing_reads_has_no_errors_and_is_named():
    density = known_noise("laplace")
    found = maximum_likelihood(density, torch.Generator().manual_seed(0), n_starts=1, n_prior=8)
    assert bool(found.covariance.isnan().all())
    assert any("flat along unread" in text for text in problems_of(found, density))


@pytest.mark.slow
def test_a_start_whose_spread_has_fallen_to_zero_rises_to_the_top_that_another_has_found():
    levels = [[9.0, 8.1], [8.3, 6.7], [6.6, 4.5], [5.1, 2.4], [2.9, 1.0]]
    noise = AdditiveNoise("c", sd="sd")
    joint = decays(levels, noise, {"ke": LogNormal(-1.5, 0.5)}, times=(1.0, 2.0), sd=LogNormal(-1.0, 0.5))
    density = MarginalDensity(joint, METHODS["focei"]())
    start = torch.zeros(2, len(density.names), dtype=torch.float64)
    start[1, density.names.index("omega_ke")] = -9.0
    alone = maximum_likelihood(density, torch.Generator(), start=start[1:])
    assert bool(alone.is_done[0])  # by its gradient this is an end
    together = maximum_likelihood(density, torch.Generator(), start=start)
    assert float(alone.ends[0]) > together.objective + 1.0
    assert together.n_at_best == 2


def test_a_search_that_time_is_up_for_keeps_its_best_and_says_so():
    density = known_noise("focei")
    found = maximum_likelihood(density, torch.Generator().manual_seed(0), n_starts=2, n_prior=8, max_seconds=1e-9)
    assert math.isfinite(found.objective)
    assert any(text.startswith("unfinished: stopped after max_seconds") for text in problems_of(found, density))


def test_no_start_with_a_likelihood_is_an_error_that_says_what_to_look_at():
    values = [[10.0, -1.0], [9.0, 2.0]]

    def falls(t, z, p):  # a prediction that the noise cannot be about
        return -z[:, 0]

    noise = LogNormalNoise(falls, sd=0.3)
    density = MarginalDensity(decays([[abs(x) for x in row] for row in values], noise=noise, sd=0.3), METHODS["fo"]())
    with pytest.raises(SolverError, match="None of 8 draws of the prior"):
        maximum_likelihood(density, torch.Generator().manual_seed(0), n_starts=1, n_prior=8)

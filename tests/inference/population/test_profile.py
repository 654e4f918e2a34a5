"""Profile likelihoods against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import chi2, norm

from tests.inference.population.normal_samples import NOISE, VALUES, estimate_of, natural, normal_sample
from tests.inference.population.test_methods import lines
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods import METHODS
from tsode.inference.population.profile import profile_likelihood


def test_of_means_with_known_variances_it_is_the_interval_by_standard_errors():
    density = MarginalDensity(lines(), METHODS["fo"]())
    found = estimate_of(density)
    for place, profile in enumerate(profile_likelihood(density, found, range(2), 0.9)):
        half = norm.ppf(0.95) * float(found.covariance[place, place].sqrt())
        centre = float(found.theta[place])
        assert profile.ends == pytest.approx((centre - half, centre + half), rel=1e-4)
        assert bool(profile.is_done.all())
        # the rise is the square of the distance in standard errors
        distance = (profile.points[:, place] - centre) / found.covariance[place, place].sqrt()
        torch.testing.assert_close(profile.rise, distance.square(), rtol=0.0, atol=1e-3)


def test_of_the_spread_of_a_normal_sample_it_is_the_closed_form():
    density = normal_sample()
    found = estimate_of(density)
    place = density.names.index("omega_a")
    (profile,) = profile_likelihood(density, found, [place])
    n, best = len(VALUES), VALUES.var()

    def excess(omega: float) -> float:
        variance = omega**2 + NOISE**2
        return n * math.log(variance / best) + n * best / variance - n - chi2.ppf(0.95, 1)

    middle = math.sqrt(best - NOISE**2)
    truth = brentq(excess, 1e-6, middle), brentq(excess, middle, 20.0)
    assert natural(density, "omega_a", torch.tensor(profile.ends)) == pytest.approx(truth, rel=2e-3)
    assert len(profile.rise) <= 11
    # and the mean stays at that of the sample, whatever the spread
    np.testing.assert_allclose(profile.points[:, 1 - place], found.theta[1 - place], atol=1e-3)


def test_a_spread_that_data_do_not_show_has_an_interval_open_at_zero():
    density = normal_sample(VALUES[:5] * 0.6, sd=0.5)
    found = estimate_of(density)
    (profile,) = profile_likelihood(density, found, [density.names.index("omega_a")])
    assert profile.ends[0] == -math.inf
    assert math.isfinite(profile.ends[1])
    lowest = 5 * (math.log(0.25) + (0.36 * VALUES[:5].var()) / 0.25)
    highest = 5 * (math.log(0.36 * VALUES[:5].var()) + 1.0)
    assert float(profile.rise[0]) == pytest.approx(lowest - highest, abs=1e-3)
    assert lowest - highest < chi2.ppf(0.95, 1)

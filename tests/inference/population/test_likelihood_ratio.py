"""P values of likelihood ratios against simulated ones and tables."""

from __future__ import annotations

import numpy as np
import pytest

from tsode.inference.population.likelihood_ratio import likelihood_ratio


def test_inside_of_the_range_it_is_chi_squared():
    assert likelihood_ratio(3.841459, 1) == pytest.approx(0.05, abs=1e-6)
    assert likelihood_ratio(-0.001, 1) == 1.0


def test_one_spread_has_half_of_the_mass_at_zero_and_the_published_quantiles():
    # 5 % points of mixtures, Stram and Lee (1994): of 0 and 1, 1 and 2, 2 and 3 degrees of freedom
    for df, quantile in ((1, 2.7055), (2, 5.1385), (3, 7.0451)):
        assert likelihood_ratio(quantile, df, 1) == pytest.approx(0.05, abs=2e-4)


def test_a_spread_in_normal_data_is_found_as_often_as_its_p_value_says():
    """One-way layout of many groups of two: the variance between groups is 0, and its estimate is cut off there."""
    n, n_data = 200, 4000
    generator = np.random.default_rng(0)
    sums, gaps = 2.0 * generator.chisquare(n, (2, n_data))  # of squares of sums and of differences of pairs
    pooled = (sums + gaps) / (2 * n)
    free = np.where(sums > gaps, n * (np.log(sums / n) + np.log(gaps / n)), 2 * n * np.log(pooled))
    statistic = 2 * n * np.log(pooled) - free
    p = np.array([likelihood_ratio(x, 1, 1) for x in statistic])
    for level in (0.01, 0.05, 0.2):
        assert abs((p < level).mean() - level) < 6 * np.sqrt(level * (1 - level) / n_data)

"""Metrics against SciPy, scoringrules and hand-worked numbers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import scoringrules

from tsode.metrics import coverage, crps_from_quantiles, mae, mse, rmse

TRUTH = np.array([[1.0, np.nan], [3.0, -2.0]])
FORECAST = np.array([[2.0, 9.0], [3.0, 1.0]])


def test_errors_are_means_over_the_truths_that_were_seen():
    assert mse(TRUTH, FORECAST) == pytest.approx((1.0 + 0.0 + 9.0) / 3.0)
    assert rmse(TRUTH, FORECAST) == pytest.approx(np.sqrt(10.0 / 3.0))
    assert mae(TRUTH, FORECAST) == pytest.approx(4.0 / 3.0)


def test_coverage_counts_truths_on_the_edge_and_not_missing_ones():
    assert coverage(TRUTH, FORECAST - 1.0, FORECAST + 1.0) == pytest.approx(2.0 / 3.0)


def test_the_crps_from_99_quantiles_is_the_crps_to_one_per_cent():
    levels = np.arange(1, 100) / 100.0
    truth = np.array([0.1, np.nan, -1.3, 2.0])
    quantiles = np.tile(scipy.stats.norm.ppf(levels), (4, 1))
    exact = np.mean(scoringrules.crps_normal(truth[[0, 2, 3]], 0.0, 1.0))
    assert crps_from_quantiles(truth, quantiles, levels) == pytest.approx(exact, rel=0.02)

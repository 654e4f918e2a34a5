"""Metrics against SciPy, scoringrules and hand-worked numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import scoringrules
import utilsforecast.losses as theirs

from tsode.errors import ParameterError
from tsode.metrics import (
    coverage,
    crps_from_quantiles,
    crps_from_samples,
    energy_score,
    interval_score,
    mae,
    mse,
    pinball,
    rmse,
)

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


def _draws(shape: tuple[int, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, *shape)), rng.normal(size=(40, 25, *shape))


def test_scores_of_samples_quantiles_and_intervals_are_those_of_scoringrules():
    truth, samples = _draws()
    for ours, name in (("fair", "fair"), ("empirical", "nrg")):
        expected = np.mean(scoringrules.crps_ensemble(truth, samples, estimator=name))
        assert crps_from_samples(truth, samples, ours) == pytest.approx(expected, rel=1e-12)
    levels = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    quantiles = np.quantile(samples, levels, axis=1).T
    expected = np.mean(scoringrules.crps_quantile(truth, quantiles, levels))
    assert crps_from_quantiles(truth, quantiles, levels) == pytest.approx(expected, rel=1e-12)
    expected = np.mean(scoringrules.quantile_score(truth, quantiles[:, 0], 0.1))
    assert pinball(truth, quantiles[:, 0], 0.1) == pytest.approx(expected, rel=1e-12)
    expected = np.mean(scoringrules.interval_score(truth, quantiles[:, 0], quantiles[:, -1], 0.2))
    assert interval_score(truth, quantiles[:, 0], quantiles[:, -1], 80) == pytest.approx(expected, rel=1e-12)


def test_the_energy_score_is_that_of_scoringrules_over_the_channels_that_were_seen():
    truth, samples = _draws((3,))
    for ours, name in (("fair", "fair"), ("empirical", "nrg")):
        expected = np.mean(scoringrules.es_ensemble(truth, samples, estimator=name))
        assert energy_score(truth, samples, ours) == pytest.approx(expected, rel=1e-12)
    partly = truth.copy()
    partly[:, 2] = np.nan
    partly[0] = np.nan
    expected = energy_score(truth[1:, :2], samples[1:, :, :2])
    assert energy_score(partly, samples) == pytest.approx(expected, rel=1e-12)


def test_scores_are_those_of_utilsforecast():
    truth, samples = _draws()
    low, high, mean = np.quantile(samples, 0.1, axis=1), np.quantile(samples, 0.9, axis=1), samples.mean(axis=1)
    columns = {"unique_id": "a", "ds": np.arange(40), "y": truth, "m": mean, "m-lo-80": low, "m-hi-80": high}
    frame = pd.DataFrame(columns)

    def their(loss, **how):
        return loss(frame, models=how.pop("models", ["m"]), **how)["m"].iloc[0]

    assert mae(truth, mean) == pytest.approx(their(theirs.mae), rel=1e-12)
    assert mse(truth, mean) == pytest.approx(their(theirs.mse), rel=1e-12)
    assert rmse(truth, mean) == pytest.approx(their(theirs.rmse), rel=1e-12)
    assert coverage(truth, low, high) == pytest.approx(their(theirs.coverage, level=80), rel=1e-12)
    assert interval_score(truth, low, high, 80) == pytest.approx(their(theirs.winkler_score, level=80), rel=1e-12)
    lower = their(theirs.quantile_loss, models={"m": "m-lo-80"}, q=0.1)
    assert pinball(truth, low, 0.1) == pytest.approx(lower, rel=1e-12)
    both = theirs.mqloss(frame, models={"m": ["m-lo-80", "m-hi-80"]}, quantiles=np.array([0.1, 0.9]))["m"].iloc[0]
    ours = crps_from_quantiles(truth, np.stack([low, high], axis=1), np.array([0.1, 0.9]))
    assert ours == pytest.approx(2.0 * both, rel=1e-12)


def test_an_estimator_that_is_not_known_is_named():
    with pytest.raises(ParameterError, match="choose 'fair' or 'empirical'"):
        crps_from_samples(np.zeros(2), np.zeros((2, 3)), "nrg")
    with pytest.raises(ParameterError, match="needs two samples"):
        energy_score(np.zeros((2, 1)), np.zeros((2, 1, 1)))

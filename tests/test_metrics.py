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
    brier_decomposition,
    brier_score,
    coverage,
    crps_from_quantiles,
    crps_from_samples,
    energy_score,
    integrated_brier_score,
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


def test_the_brier_score_leaves_out_what_is_not_known():
    assert brier_score([1.0, np.nan, 0.0], [0.9, 0.5, 0.2]) == pytest.approx((0.01 + 0.04) / 2)
    assert brier_score([[True], [False]], [[1.0], [0.0]]) == 0.0


def test_the_parts_of_a_brier_score_add_up_to_it_and_are_those_worked_out_by_hand():
    happened, said = [1, 0, 0, 1, 1, 0], [0.2, 0.2, 0.2, 0.8, 0.8, 0.5]
    parts = brier_decomposition(happened, said)
    # rates 1/3, 1, 0 where 0.2, 0.8, 0.5 was said; 1/2 of all
    assert parts.reliability == pytest.approx(3 / 6 * (0.2 - 1 / 3) ** 2 + 2 / 6 * 0.2**2 + 1 / 6 * 0.5**2)
    assert parts.resolution == pytest.approx(3 / 6 * (1 / 6) ** 2 + 2 / 6 * 0.25 + 1 / 6 * 0.25)
    assert parts.uncertainty == 0.25
    assert parts.reliability - parts.resolution + parts.uncertainty == pytest.approx(brier_score(happened, said))


def test_bins_of_honest_probabilities_have_the_reliability_that_chance_gives():
    rng = np.random.default_rng(0)
    said = rng.uniform(size=(400, 500))
    happened = rng.uniform(size=said.shape) < said
    found = np.array([brier_decomposition(x, p, n_bins=10).reliability for x, p in zip(happened, said)])
    expected = 10 * np.mean(said * (1 - said)) / 500
    # 400 repeats; the variance within a bin of width .1 takes off less than a hundredth
    assert abs(found.mean() - expected) < 6.0 * found.std() / 20.0 + 0.01 * expected
    assert brier_decomposition([1, 0], [0.5, 0.6], n_bins=10).resolution == 0.25


def test_without_censoring_the_integrated_brier_score_is_the_integral_of_brier_scores():
    rng = np.random.default_rng(1)
    ends, times, said = rng.exponential(size=30), np.linspace(0.0, 0.7, 8), rng.uniform(size=(30, 8))
    ends[0] = 3.0
    scores = [brier_score(ends <= t, p) for t, p in zip(times, said.T)]
    expected = np.trapezoid(scores, times) / 0.7
    assert integrated_brier_score(ends, np.ones(30, bool), times, said) == pytest.approx(expected)


def test_the_integrated_brier_score_with_censoring_is_that_worked_out_by_hand():
    # seen: an event at 1, lost at 2, an event at 3, lost at 4; so that G is 1 until 2, then 2/3, and 0 from 4
    ends, is_event = np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, False])
    said = np.array([[0.5, 0.9], [0.2, 0.4], [0.3, 0.6], [0.1, 0.2]])
    at_1 = (0.5**2 + 0.2**2 + 0.3**2 + 0.1**2) / 4
    at_3 = (0.1**2 + (0.4**2 + 0.2**2) / (2 / 3)) / 4
    assert integrated_brier_score(ends, is_event, [1.0, 3.0], said) == pytest.approx((at_1 + at_3) / 2)


def test_the_weights_make_a_censored_score_that_of_all_in_the_mean():
    rng = np.random.default_rng(2)
    times = np.linspace(0.0, 1.5, 16)
    said, every = np.broadcast_to(0.8 * -np.expm1(-times), (1000, 16)), np.ones(1000, bool)
    weighted, naive = [], []
    for _ in range(40):
        ends, lost = rng.exponential(size=1000), rng.exponential(2.0, size=1000)
        ends[0] = lost[0] = 2.0
        whole = integrated_brier_score(ends, every, times, said)
        seen = np.minimum(ends, lost)
        weighted.append(integrated_brier_score(seen, ends <= lost, times, said) - whole)
        naive.append(integrated_brier_score(seen, every, times, said) - whole)
    assert abs(np.mean(weighted)) < 6.0 * np.std(weighted) / np.sqrt(40)
    assert abs(np.mean(naive)) > 6.0 * np.std(naive) / np.sqrt(40)


def test_a_score_up_to_the_horizon_counts_series_that_are_given_up_there():
    said = np.array([[0.0, 0.2], [0.0, 0.7]])
    found = integrated_brier_score([2.0, 1.0], [False, True], [0.0, 2.0], said)
    assert found == pytest.approx((0.2**2 + 0.3**2) / 2 / 2)


def test_scores_of_events_say_what_they_cannot_read():
    with pytest.raises(ParameterError, match="must be 0 or 1"):
        brier_score([0.5], [0.5])
    with pytest.raises(ParameterError, match="nothing to score"):
        brier_score([np.nan], [0.5])
    with pytest.raises(ParameterError, match="score until then"):
        integrated_brier_score([1.0], [True], [0.0, 2.0], np.zeros((1, 2)))
    with pytest.raises(ParameterError, match="must increase"):
        integrated_brier_score([1.0], [True], [1.0], np.zeros((1, 1)))
    with pytest.raises(ParameterError, match="n_bins=0"):
        brier_decomposition([1], [0.5], n_bins=0)

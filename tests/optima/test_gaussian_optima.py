"""Optimum of Gaussian problems, which benchmarks measure forecasters by."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.small_panels_parts.optima import gaussian_problems as problems
from tests.benchmarks.small_panels_parts.optima.gaussian import conditioned, joint_covariance
from tests.benchmarks.small_panels_parts.optima.paths import N_STEPS


def last_seen(paths, channel=0):
    """Value last seen strictly before each time, and when."""
    value, when = np.empty(paths.times.shape), np.empty(paths.times.shape)
    for row, (times, values) in enumerate(zip(paths.times, paths.values[..., channel])):
        x, at = 0.0, 0.0
        for k, (t, y) in enumerate(zip(times, values)):
            value[row, k], when[row, k] = x, at
            if not np.isnan(y):
                x, at = y, t
    return value, when


def test_conditioning_one_by_one_is_that_of_the_dense_gaussian():
    generator = np.random.default_rng(0)
    times = np.sort(generator.random((3, 6)), axis=1)
    problem = problems.time_lag()
    cov = joint_covariance(problem.covariance, times)
    mean, noise = generator.standard_normal((3, 6, 2)), generator.uniform(0.1, 0.5, 6)
    values = np.where(generator.random((3, 6, 2)) < 0.6, generator.standard_normal((3, 6, 2)), np.nan)
    found = conditioned(mean, cov, values, noise)
    for row in range(3):
        for k in range(6):
            seen = np.flatnonzero(~np.isnan(values[row, :k]).ravel())
            inside = cov[row][np.ix_(seen, seen)] + np.diag(np.repeat(noise, 2)[seen])
            error = (values[row] - mean[row]).ravel()[seen]
            moved = cov[row][2 * k : 2 * k + 2, seen] @ np.linalg.solve(inside, error)
            np.testing.assert_allclose(found[row, k], mean[row, k] + moved, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("is_drawn", [False, True])
def test_an_ornstein_uhlenbeck_process_relaxes_from_its_last_value(is_drawn):
    problem = problems.ornstein_uhlenbeck(is_drawn)
    paths = problem.simulate(5, np.random.default_rng(1))
    value, when = last_seen(paths)
    wanted = 4.0 + (value - 4.0) * np.exp(-2.0 * (paths.times - when))
    np.testing.assert_allclose(problem.best(paths)[..., 0][:, 1:], wanted[:, 1:], rtol=1e-6)


@pytest.mark.parametrize("is_drawn", [False, True])
def test_a_noisy_brownian_motion_is_forecast_by_the_scalar_kalman_filter(is_drawn):
    problem = problems.noisy_brownian(is_drawn)
    paths = problem.simulate(5, np.random.default_rng(2))
    found = problem.best(paths)[..., 0]
    for row, (times, values) in enumerate(zip(paths.times, paths.values[..., 0])):
        mean, variance, before = 0.0, 0.0, 0.0
        for k, (t, y) in enumerate(zip(times, values)):
            variance, before = variance + t - before, t
            assert found[row, k] == pytest.approx(mean, abs=1e-8)
            if k and not np.isnan(y):
                gain = variance / (variance + 0.25)
                mean, variance = mean + gain * (y - mean), (1.0 - gain) * variance


def test_a_signal_that_is_not_seen_is_half_of_the_sum():
    problem = problems.filtering(0.25)
    paths = problem.simulate(5, np.random.default_rng(3), is_test=True)
    assert np.isnan(paths.values[:, 1:, 1]).all()
    value, _ = last_seen(paths)
    np.testing.assert_allclose(problem.best(paths), np.stack([value, 0.5 * value], axis=-1), atol=1e-8)


def test_a_drift_is_the_conjugate_mean():
    problem = problems.uncertain_drift()
    paths = problem.simulate(5, np.random.default_rng(4), is_test=True)
    value, when = last_seen(paths)
    drift = (0.05 / 0.1**2 + value / 0.2**2) / (1.0 / 0.1**2 + when / 0.2**2)
    wanted = np.stack([value + drift * (paths.times - when), drift], axis=-1)
    np.testing.assert_allclose(problem.best(paths)[:, 1:], wanted[:, 1:], rtol=1e-6, atol=1e-8)


def test_what_comes_later_lies_between_the_nearest_values_known():
    problem = problems.time_lag()
    paths = problem.simulate(4, np.random.default_rng(5))
    found = problem.best(paths)
    for row, values in enumerate(paths.values):
        known = {0: 0.0}  # of the Brownian motion, by its step
        for k in range(N_STEPS + 1):
            wanted = [np.interp(max(step, 0), sorted(known), [known[s] for s in sorted(known)]) for step in (k, k - 19)]
            np.testing.assert_allclose(found[row, k], wanted, atol=1e-4)
            known |= {step: y for step, y in zip((k, k - 19), values[k]) if not np.isnan(y) and step > 0}


def test_a_hurst_exponent_of_a_half_hangs_on_the_last_value_alone_and_others_do_not():
    for hurst, is_first_order in ((0.5, True), (0.05, False), (0.95, False)):
        problem = problems.FractionalBrownian(hurst)
        paths = problem.simulate(600, np.random.default_rng(6))
        best, by_last = problem.best(paths), problem.best_by_last(paths)
        value, _ = last_seen(paths)
        assert np.allclose(best[..., 0], value, atol=1e-4) == is_first_order
        if not is_first_order:
            errors = [np.mean((paths.truth - forecast) ** 2, axis=(1, 2)) for forecast in (by_last, best)]
            gain = errors[0] - errors[1]
            assert gain.mean() > 3.0 * gain.std() / np.sqrt(len(gain))


def test_paths_have_the_covariance_that_is_asked_for():
    problem = problems.FractionalBrownian(0.75)
    n = 4000
    paths = problem.simulate(n, np.random.default_rng(7))
    half, end = paths.truth[:, 50, 0], paths.truth[:, 100, 0]
    wanted = np.array([0.5**1.5, 0.5 * (0.5**1.5 + 1.0 - 0.5**1.5), 1.0])
    found = np.array([np.mean(half**2), np.mean(half * end), np.mean(end**2)])
    error = np.array([half**2, half * end, end**2]).std(axis=1) / np.sqrt(n)
    assert (np.abs(found - wanted) < 6.0 * error).all()


def test_drawn_times_are_as_many_as_the_grid_shows_and_none_is_asked():
    problem = problems.noisy_brownian(is_drawn=True)
    paths = problem.simulate(500, np.random.default_rng(8))
    is_seen = ~np.isnan(paths.values[..., 0])
    assert (paths.is_asked.sum(axis=1) == N_STEPS).all()
    assert not (is_seen & paths.is_asked).any()
    assert (np.diff(paths.times, axis=1) >= 0.0).all()
    counts = is_seen.sum(axis=1) - 1
    assert abs(counts.mean() - 10.0) < 6.0 * 3.0 / np.sqrt(500)  # Binomial(100, 0.1) has standard deviation 3

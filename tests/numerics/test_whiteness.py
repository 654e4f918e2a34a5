"""Portmanteau test of white noise at uneven times."""

import numpy as np
import pytest

from tsode.numerics.whiteness import portmanteau


def _uneven(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.cumsum(rng.exponential(size=n))


@pytest.mark.parametrize("is_regular", [True, False])
def test_white_noise_is_rejected_at_its_level(is_regular: bool) -> None:
    found = []
    for seed in range(600):
        rng = np.random.default_rng(seed)
        times = np.arange(120.0) if is_regular else _uneven(rng, 120)
        found.append(portmanteau(times, 3.0 * rng.normal(size=120)))
    share = np.mean(np.array(found) < 0.05)
    assert 0.025 < share < 0.08
    assert 0.4 < np.median(found) < 0.62


def test_noise_that_is_correlated_in_time_is_rejected_however_uneven_the_times() -> None:
    rng = np.random.default_rng(0)
    times = _uneven(rng, 150)
    errors = rng.normal(size=150)
    for k in range(1, 150):
        kept = np.exp(-(times[k] - times[k - 1]))
        errors[k] = kept * errors[k - 1] + np.sqrt(1.0 - kept**2) * errors[k]
    assert portmanteau(times, errors) < 1e-3


def test_units_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    times, errors = _uneven(rng, 60), rng.normal(size=60)
    assert portmanteau(1e6 * times + 1e9, 1e-3 * errors) == pytest.approx(portmanteau(times, errors), rel=1e-6)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_few_errors_say_nothing(n: int) -> None:
    assert np.isnan(portmanteau(np.arange(float(n)), np.ones(n)))


def test_times_that_are_all_one_say_nothing() -> None:
    assert np.isnan(portmanteau(np.ones(30), np.random.default_rng(0).normal(size=30)))


def test_many_short_series_are_tested_together_by_pairs_within_each() -> None:
    rng = np.random.default_rng(2)
    series, times = np.repeat(np.arange(60), 5), np.tile(np.arange(5.0), 60)
    found = [portmanteau(times, rng.normal(size=300), series) for _ in range(400)]
    assert 0.025 < np.mean(np.array(found) < 0.05) < 0.08
    # what all of a series share is correlated in time, what alternates from one to the next is not
    assert portmanteau(times, np.repeat(rng.normal(size=60), 5), series) < 1e-6
    white = rng.normal(size=(60, 5))
    mirrored = white.copy()
    mirrored[1::2] = -white[::2]
    assert portmanteau(times, mirrored.ravel(), series) > 0.01

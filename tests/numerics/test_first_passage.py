"""First passage against the laws of Brownian motion: with drift, of its bridge, and out of a band."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import kstest

from tsode.errors import ParameterError
from tsode.numerics.first_passage import (
    hit_probability,
    hit_share,
    passage_probability,
    passage_times,
    refine_bridges,
    time_beyond,
)

N = 20_000


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def brownian(times, drift=0.0, sigma=1.0, start=0.0, n=N, seed=0):
    """Paths (n m) on a grid, and their variations."""
    gaps = np.diff(times)
    noise = np.random.default_rng(seed).normal(size=(n, len(gaps)))
    steps = np.concatenate([np.full((n, 1), start), drift * gaps + sigma * np.sqrt(gaps) * noise], axis=1)
    return np.cumsum(steps, axis=1), np.broadcast_to(sigma**2 * gaps, (n, len(gaps)))


def inverse_gaussian_cdf(t, level, drift, sigma):
    """First passage of Brownian motion with drift through a level above its start (Karatzas & Shreve, 3.5.C)."""
    spread = sigma * np.sqrt(t)
    return ndtr((drift * t - level) / spread) + np.exp(2 * drift * level / sigma**2) * ndtr(
        (-drift * t - level) / spread
    )


TIMES = np.array([0.0, 0.3, 0.7, 1.0, 2.0])


@pytest.mark.parametrize(("drift", "level"), [(0.6, 1.0), (-0.8, 0.5)])
def test_four_uneven_steps_give_the_passage_of_brownian_motion_with_drift_at_every_time(drift, level):
    paths, variation = brownian(TIMES, drift, 0.7)
    found = passage_probability(paths - level, variation, "up")
    error = found.std(axis=0) / np.sqrt(N)
    truth = inverse_gaussian_cdf(TIMES[1:], level, drift, 0.7)
    assert (np.abs(found.mean(axis=0)[1:] - truth) < 6.0 * error[1:]).all()
    mirrored = passage_probability(level - paths, variation, "down")
    np.testing.assert_array_equal(mirrored, found)


def test_drawn_times_have_the_inverse_gaussian_law_within_the_steps_too():
    paths, variation = brownian(TIMES, 0.6, 0.7)
    found = passage_times(TIMES, paths, np.array([1.0]), variation, "up", seeded()).times[0]
    last = inverse_gaussian_cdf(TIMES[-1], 1.0, 0.6, 0.7)
    crossed = found[np.isfinite(found)]
    assert abs(len(crossed) / N - last) < 6.0 * np.sqrt(last * (1.0 - last) / N)
    # Kolmogorov's distance of n draws is above 2.5 / sqrt(n) once in 130,000
    distance = kstest(crossed, lambda t: inverse_gaussian_cdf(t, 1.0, 0.6, 0.7) / last).statistic
    assert distance < 2.5 / np.sqrt(len(crossed))


@pytest.mark.parametrize(("start", "end", "variation"), [(-1.0, -0.3, 0.8), (-1.0, 0.4, 0.5), (1.0, 0.0, 2.0)])
def test_the_share_of_a_bridge_has_the_density_of_its_first_touch(start, end, variation):
    generator = seeded(1)
    found = np.sort(hit_share(*(np.full(N, x) for x in (start, end, variation)), generator))
    h, z = abs(start), abs(start) - np.sign(start) * end  # the level, and where the bridge ends, from its start

    def density(t):
        return h * t**-1.5 * (1 - t) ** -0.5 * np.exp(-((h - z * t) ** 2) / (2 * variation * t * (1 - t)))

    # of all bridges: this many touch, which is the integral of the density
    whole = quad(density, 0, 1)[0]
    scale = np.sqrt(2 * np.pi * variation)
    assert whole / scale == pytest.approx(float(hit_probability(*map(np.array, (start, end, variation)))), rel=1e-6)
    for t in (0.2, 0.5, 0.8):
        p = quad(density, 0, t)[0] / whole
        assert abs(np.mean(found <= t) - p) < 6.0 * np.sqrt(p * (1 - p) / N)


def test_the_first_of_two_levels_around_a_path_is_that_of_the_gamblers_ruin():
    times = np.linspace(0.0, 12.0, 61)
    paths, variation = brownian(times, n=8000)
    times, paths, variation = refine_bridges(times, paths, variation, 2, seeded(2))
    found = passage_times(times, paths, np.array([1.0, -0.5]), variation, "either", seeded(3))
    assert np.isfinite(found.times).any(axis=0).all()  # it stays in the band till 12 with probability 1e-11
    upper_first = np.mean(found.order[0] == 0)
    assert abs(upper_first - 1 / 3) < 6.0 * np.sqrt(2 / 9 / 8000)
    # and the mean time out of the band is the product of the distances
    first = found.times.min(axis=0)
    assert abs(first.mean() - 0.5) < 6.0 * first.std() / np.sqrt(8000)


def test_a_path_meets_a_nearer_level_before_a_farther_one_in_every_draw():
    paths, variation = brownian(np.linspace(0.0, 3.0, 4), drift=1.0)
    found = passage_times(np.linspace(0.0, 3.0, 4), paths, np.array([1.2, 0.4, 0.8]), variation, "up", seeded())
    far, near, middle = found.times
    assert (near <= middle).all()
    assert (middle <= far).all()
    assert (far < np.inf).any()
    assert (near[far < np.inf] < np.inf).all()
    crossed = near < np.inf
    assert (found.order[1] == 0)[crossed].all()


def test_a_jump_meets_levels_in_their_order():
    times, paths = np.array([0.0, 1.0, 1.0, 2.0]), np.array([[0.0, 0.0, 3.0, 3.0]])
    found = passage_times(times, paths, np.array([2.0, 1.0, 5.0]), np.zeros((1, 3)), "up", seeded())
    assert found.times[:, 0].tolist() == [1.0, 1.0, np.inf]
    assert found.order[:, 0].tolist() == [1, 0, 2]
    assert found.interval[:, 0].tolist() == [1, 1, -1]


def test_without_variation_only_lines_between_the_times_cross_and_in_their_direction():
    gap = np.array([[1.0, -1.0, -0.5, 0.5], [-1.0, -2.0, -1.0, -0.1]])
    expected = {"up": [[0, 0, 0, 1], [0, 0, 0, 0]], "down": [[0, 1, 1, 1], [0, 0, 0, 0]]}
    for direction, crossed in expected.items():
        assert passage_probability(gap, None, direction).tolist() == crossed
        assert passage_probability(gap, np.zeros((2, 3)), direction).tolist() == crossed
    times = np.array([0.0, 1.0, 2.0, 4.0])
    found = passage_times(times, gap, np.array([0.0]), None, "up", seeded())
    assert found.times.tolist() == [[3.0, np.inf]]


def test_brownian_motion_beyond_a_level_crosses_it_when_it_touches_it():
    gap, variation = np.array([[1.0, 0.5]]), np.array([[1.0]])
    assert passage_probability(gap, variation, "up")[0, 1] == pytest.approx(np.exp(-1.0))


def test_a_path_that_failed_has_no_probability_and_no_time():
    gap, variation = np.array([[-1.0, np.nan, 1.0], [-1.0, 1.0, 1.0]]), np.ones((2, 2))
    found = passage_probability(gap, variation, "up")
    assert np.isnan(found[0, 1:]).all()
    assert found[1, 1] == 1.0
    assert passage_times(np.arange(3.0), gap, np.zeros(1), variation, "up", seeded()).times[0, 0] == np.inf


def test_halved_bridges_keep_their_ends_and_have_the_covariance_of_brownian_motion():
    paths, variation = brownian(np.array([0.0, 1.0]), sigma=2.0)
    times, finer, finer_variation = refine_bridges(np.array([0.0, 1.0]), paths, variation, 2, seeded())
    assert times.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    np.testing.assert_array_equal(finer[:, ::4], paths)
    np.testing.assert_allclose(finer_variation, 1.0)
    expected = 4.0 * np.minimum.outer(times, times)[1:, 1:]
    # the standard error of a covariance of normals is at most sqrt(2) times the larger variance / sqrt(n)
    assert np.abs(np.cov(finer[:, 1:].T) - expected).max() < 6.0 * np.sqrt(2.0) * 4.0 / np.sqrt(N)


def test_the_time_above_a_level_is_the_integral_of_the_probability_of_being_there():
    times = np.linspace(0.0, 2.0, 33)
    paths, variation = brownian(times, drift=0.3)
    times, paths, _ = refine_bridges(times, paths, variation, 2, seeded())
    found = time_beyond(times, paths - 0.5)[:, -1]
    truth = quad(lambda t: ndtr((0.3 * t - 0.5) / np.sqrt(t)), 0.0, 2.0)[0]
    assert abs(found.mean() - truth) < 6.0 * found.std() / np.sqrt(N)


def test_an_unknown_direction_lists_the_known_ones():
    with pytest.raises(ParameterError, match="choose one of up, down, either"):
        passage_probability(np.zeros((1, 2)), None, "above")

"""Crossings of smooth curves against their closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from tsode.numerics.curve_crossings import bracket_crossings, crossing_roots, find_humps

TIMES = np.linspace(0.0, 3.0, 25)
NO_JUMP = np.zeros(24, dtype=bool)


def crossings(curves, levels, direction, times=TIMES, is_jump=NO_JUMP):
    """First crossings (s) of ``curves(k, t)``, one level each, and how often these were evaluated."""
    counts = []

    def evaluate(k, t):
        counts.append(len(k))
        return curves(k, t) - levels[k]

    every = np.arange(len(levels))
    gap = np.stack([curves(every, np.full(len(levels), t)) for t in times], axis=1) - levels[:, None]
    humps = find_humps(times, gap, is_jump, direction)
    found = bracket_crossings(times, gap, is_jump, direction, humps, evaluate(humps.curve, humps.peak))
    first = np.full(len(levels), np.inf)
    first[found.curve] = crossing_roots(found, lambda at, t: evaluate(found.curve[at], t))
    return first, counts


def test_roots_have_ten_digits_after_few_evaluations():
    rates = np.random.default_rng(0).uniform(0.3, 2.0, size=200)
    found, counts = crossings(lambda k, t: np.exp(-rates[k] * t), np.full(200, 0.4), "down")
    truth = -np.log(0.4) / rates
    np.testing.assert_allclose(found, np.where(truth <= 3.0, truth, np.inf), rtol=1e-10)
    assert len(counts) <= 8


@pytest.mark.parametrize(("direction", "turn"), [("up", 1.0), ("down", -1.0), ("either", 1.0)])
def test_a_peak_beyond_the_level_between_two_times_is_found(direction, turn):
    # the peak at 1.44 lies between 1.375 and 1.5, where the curve is .004 and .004 below it
    levels = turn * (1.0 - np.array([1e-4, 1e-3, -1e-4]))
    found, _ = crossings(lambda k, t: turn * (1.0 - (t - 1.44) ** 2), levels, direction)
    np.testing.assert_allclose(found, [1.44 - 0.01, 1.44 - np.sqrt(1e-3), np.inf], rtol=1e-9)


def test_a_curve_that_dips_below_and_comes_back_crosses_up_on_its_way_back():
    found, _ = crossings(lambda k, t: (t - 1.44) ** 2, np.array([1e-4]), "up")
    np.testing.assert_allclose(found, [1.45], rtol=1e-9)


def test_the_first_of_several_peaks_counts():
    found, _ = crossings(lambda k, t: np.sin(2 * np.pi * t / 1.3 - 0.4), np.array([0.999, -0.2]), "up")
    np.testing.assert_allclose(found, (np.arcsin([0.999, -0.2]) + 0.4) / (2 * np.pi) * 1.3, rtol=1e-9)


def test_a_jump_across_the_level_crosses_at_the_jump():
    times = np.array([0.0, 1.0, 1.0 + 1e-9, 2.0])
    is_jump = np.array([False, True, False])
    curve = lambda k, t: np.where(t > 1.0, 5.0 * np.exp(1.0 - t), 0.5)  # noqa: E731
    up, _ = crossings(curve, np.array([2.0, 6.0]), "up", times, is_jump)
    assert up.tolist() == [1.0, np.inf]
    down, _ = crossings(curve, np.array([2.0]), "down", times, is_jump)
    np.testing.assert_allclose(down, 1.0 + np.log(2.5), rtol=1e-10)


def test_a_curve_that_failed_has_no_crossing():
    gap = np.array([[-1.0, np.nan, 1.0], [-1.0, 0.5, 1.0]])
    how = np.arange(3.0), gap, np.zeros(2, bool), "up"
    humps = find_humps(*how)
    assert bracket_crossings(*how, humps, np.full(len(humps.curve), -1.0)).curve.tolist() == [1]

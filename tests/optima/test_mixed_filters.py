"""Optimum of families whose law is one of a grid, which benchmarks measure forecasters by."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.small_panels_parts.families import FAMILIES
from tests.benchmarks.small_panels_parts.other_families import OTHER_FAMILIES, OwnDamping, OwnLevel, Pendulum

HISTORY = (np.array([0.3, 0.5, 1.4, 2.6]), np.array([[0.4, np.nan], [np.nan, np.nan], [-0.7, 0.2], [np.nan, 0.9]]))
ASKED = np.array([2.6, 2.9, 4.5])


def turn(frequency: float, damping: float, gap: float) -> np.ndarray:
    """Of two channels, from an earlier time to a later one."""
    c, s = np.cos(frequency * gap), np.sin(frequency * gap)
    return np.exp(-damping * gap) * np.array([[c, s], [-s, c]])


def dense_forecast(frequency: float, damping: float, variance: float, noise: float) -> tuple[np.ndarray, float]:
    """Means (m 2) of `ASKED`, and the log density of the history, from the joint Gaussian of all values."""
    times, values = HISTORY
    every = np.concatenate([times, ASKED])
    rows = [
        [variance * (turn(frequency, damping, t - s) if t >= s else turn(frequency, damping, s - t).T) for s in every]
        for t in every
    ]
    cov = np.block(rows)
    seen = np.flatnonzero(~np.isnan(values.ravel()))
    y = values.ravel()[seen]
    inside = cov[np.ix_(seen, seen)] + noise**2 * np.eye(len(seen))
    mean = cov[2 * len(times) :, seen] @ np.linalg.solve(inside, y)
    log_density = -0.5 * (y @ np.linalg.solve(inside, y) + np.linalg.slogdet(inside)[1])
    return mean.reshape(-1, 2), float(log_density)


def test_mixed_filters_are_dense_gaussians_weighted_by_their_evidence():
    family = OwnDamping(n_grid=7)
    found = family.forecast(*HISTORY, ASKED)
    parts = [
        dense_forecast(family.frequency, damping, family.sigma**2 / (2.0 * damping), family.noise)
        for damping in family.grid
    ]
    means, log_densities = (np.array(column) for column in zip(*parts))
    weight = np.exp(log_densities - log_densities.max())
    np.testing.assert_allclose(found, np.tensordot(weight / weight.sum(), means, 1), rtol=1e-10)
    assert np.abs(found - means[0]).max() > 0.05  # so no one law would do


def test_a_level_of_a_wide_law_is_forecast_as_by_the_gaussian_of_a_flat_one():
    family, times = OwnLevel(n_grid=400), np.array([0.2, 0.9, 1.3, 3.0])
    y = np.array([4.0, 3.1, 5.0, 3.6])
    found = family.forecast(times, y[:, None], ASKED + 1.0)[:, 0]
    # a uniform law far wider than what four values leave of the level is as good as flat
    every = np.concatenate([times, ASKED + 1.0])
    stationary = family.sigma**2 / (2.0 * family.speed)
    cov = stationary * np.exp(-family.speed * np.abs(every[:, None] - every)) + 1e6
    inside = cov[:4, :4] + family.noise**2 * np.eye(4)
    np.testing.assert_allclose(found, cov[4:, :4] @ np.linalg.solve(inside, y), atol=0.02)


def test_a_pendulum_swings_by_its_equation():
    family, amplitude, h = Pendulum(), 2.5, 1e-4
    turns = np.linspace(0.0, 1.0, 9)[:, None] + np.array([-h, 0.0, h]) / family.period(amplitude)
    before, here, after = family.swing(amplitude, turns).T
    np.testing.assert_allclose((after - 2.0 * here + before) / h**2, -9.0 * np.sin(here), atol=1e-5)
    assert np.abs(family.swing(amplitude, np.linspace(0.0, 1.0, 401))).max() == pytest.approx(amplitude)
    assert family.period(1e-6) == pytest.approx(2.0 * np.pi / family.rate)


@pytest.mark.slow
def test_the_pendulums_grid_is_fine_enough():
    generator = np.random.default_rng(3)
    coarse, fine = Pendulum(), Pendulum(n_amplitudes=800, n_phases=512)
    panel = coarse.simulate(2, generator)
    ways = [family.best(panel) for family in (coarse, fine)]
    assert np.abs(ways[0].best - ways[1].best).max() < 0.01  # the noise is 0.3


def test_the_pendulum_is_forecast_as_by_a_plain_sum_over_its_law():
    family = Pendulum(n_amplitudes=20, n_phases=30)
    times, y = np.array([0.4, 1.1, 2.3]), np.array([0.8, -0.5, 1.9])
    total, weights = np.zeros(len(ASKED)), 0.0
    for amplitude in family.amplitudes:
        for phase in family.phases:
            start = phase - 2.5 / family.period(amplitude)  # a phase is that at the middle of the history, 2.5
            seen, ahead = (family.swing(amplitude, start + t / family.period(amplitude)) for t in (times, ASKED))
            weight = np.exp(-0.5 * np.sum((y - seen) ** 2) / family.noise**2)
            total, weights = total + weight * ahead, weights + weight
    np.testing.assert_allclose(family.forecast(times, y[:, None], ASKED)[:, 0], total / weights, atol=1e-4)


@pytest.mark.parametrize("name", [*FAMILIES, *OTHER_FAMILIES])
def test_no_multiple_of_an_optimum_is_better_and_none_knows_more_than_it(name):
    """Errors are orthogonal to the forecast, within six standard errors of the mean over series."""
    family = (FAMILIES | OTHER_FAMILIES)[name]
    truth = family.best(family.simulate(15 if name == "pendulum" else 200, np.random.default_rng(11)))
    products = np.bincount(truth.series, (truth.value - truth.best) * truth.best)
    assert abs(products.mean()) < 6.0 * products.std() / np.sqrt(len(products))
    best, mean = (np.mean((truth.value - forecast) ** 2) for forecast in (truth.best, truth.value.mean()))
    assert best < mean

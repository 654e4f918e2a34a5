"""Optimum of problems that are not Gaussian, which benchmarks measure forecasters by."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ncx2

from tests.benchmarks.small_panels_parts.optima.black_scholes import DependentObservations, LongGaps
from tests.benchmarks.small_panels_parts.optima.cir import CIR, log_density
from tests.benchmarks.small_panels_parts.optima.double_pendulum import DoublePendulum, energy, slopes


@pytest.mark.parametrize("problem", [DependentObservations(), CIR(n_grid=(20, 20, 10))], ids=lambda p: p.name)
def test_errors_of_an_optimum_are_orthogonal_to_it(problem):
    """Within six standard errors of the mean over paths: no multiple of it, and no shift, is better."""
    paths = problem.simulate(30 if isinstance(problem, CIR) else 2000, np.random.default_rng(1))
    best = problem.best(paths)
    error = (paths.truth - best)[..., 0]
    for weight in (np.ones_like(error), best[..., 0]):
        products = (error * weight)[:, 1:].mean(axis=1)
        assert abs(products.mean()) < 6.0 * products.std() / np.sqrt(len(products))


def test_looks_hang_on_the_last_value_seen():
    paths = DependentObservations().simulate(4000, np.random.default_rng(2))
    is_high, is_next = paths.truth[:, 50, 0] > np.e, ~np.isnan(paths.values[:, 51, 0])
    is_seen = ~np.isnan(paths.values[:, 50, 0])
    shares = [is_next[is_seen & which].mean() for which in (is_high, ~is_high)]
    assert shares[0] > shares[1] + 0.05  # standard error about 0.02, and 0.5 of an error of 3 between the two


@pytest.mark.parametrize("is_drawn", [False, True])
def test_growth_from_the_start_alone_is_the_mean_of_all_paths(is_drawn):
    problem = LongGaps(0.1, is_drawn)
    test = problem.simulate(3000, np.random.default_rng(3), is_test=True)
    assert np.isnan(test.values[:, 1:]).all()
    np.testing.assert_allclose(problem.best(test)[:, 1:, 0], np.exp(2.0 * test.times[:, 1:]))
    end = test.truth[:, -1, 0]
    assert abs(end.mean() - np.exp(2.0)) < 6.0 * end.std() / np.sqrt(len(end))
    assert abs(np.log(end).var() - 0.09) < 6.0 * 0.09 * np.sqrt(2.0 / len(end))
    train = problem.simulate(500, np.random.default_rng(4))
    assert abs((~np.isnan(train.values)).sum(axis=(1, 2)).mean() - 11.0) < 6.0 * 3.0 / np.sqrt(500)


def test_densities_of_steps_are_the_noncentral_chi_squared():
    a, b, sigma = (axis.ravel() for axis in np.meshgrid([0.2, 1.0, 2.0], [1.0, 2.5, 5.0], [0.1, 0.25, 0.5]))
    for x, before, gap in ((1.2, 1.0, 0.1), (1.1, 1.3, 0.01), (2.0, 1.5, 0.5)):
        scale = 4.0 * a / (sigma**2 * -np.expm1(-a * gap))
        wanted = ncx2.logpdf(scale * x, 4.0 * a * b / sigma**2, scale * before * np.exp(-a * gap)) + np.log(scale)
        found = log_density(x, before, gap, a, b, sigma)
        is_finite = np.isfinite(wanted) & (wanted > -300.0)  # SciPy's goes astray in the far tails
        assert is_finite.sum() > 10
        np.testing.assert_allclose(found[is_finite], wanted[is_finite], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.05, 0.5])
def test_densities_of_steps_have_their_mass_and_their_mean(sigma):
    a, b, before, gap = 1.5, 4.0, 1.0, 0.3
    mean = b + (before - b) * np.exp(-a * gap)
    width = 12.0 * sigma * np.sqrt(mean * gap)
    x = np.linspace(max(mean - width, 1e-6), mean + width, 4001)
    density = np.exp([log_density(one, before, gap, *(np.array([p]) for p in (a, b, sigma)))[0] for one in x])
    mass = np.trapezoid(density, x)
    assert mass == pytest.approx(1.0, abs=1e-6)
    assert np.trapezoid(density * x, x) == pytest.approx(mean, abs=1e-6)


def test_the_grid_of_parameters_is_fine_enough():
    paths = CIR().simulate(5, np.random.default_rng(5))
    ways = [CIR(n_grid=n_grid).best(paths)[..., 0] for n_grid in ((40, 40, 16), (58, 58, 23))]
    loss = np.mean((paths.truth[..., 0] - ways[1]) ** 2)
    assert np.mean((ways[0] - ways[1]) ** 2) < 0.002 * loss


def test_a_double_pendulum_keeps_its_energy():
    paths = DoublePendulum(0.1).simulate(20, np.random.default_rng(6), is_test=True)
    spent = energy(paths.truth) - energy(paths.truth[:, :1])
    assert np.abs(spent).max() < 1e-3  # of about 29 at the top


def test_a_double_pendulum_moves_by_the_slopes_of_its_energy():
    z, h = np.random.default_rng(7).standard_normal((5, 4)), 1e-6
    slope = np.stack([(energy(z + h * e) - energy(z - h * e)) / (2.0 * h) for e in np.eye(4)], axis=-1)
    wanted = np.concatenate([slope[:, 2:], -slope[:, :2]], axis=-1)
    np.testing.assert_allclose(slopes(z), wanted, rtol=1e-6, atol=1e-6)

"""Filter of the red background, against dense Gaussians."""

from __future__ import annotations

import numpy as np
import pytest

from tsode.numerics.red_background import Background, Whitener, clip_innovations, fit_backgrounds

TIMES = np.array([0.0, 0.001, 0.7, 0.7, 1.9, 4.0, 4.5, 90.0, 91.0])


def covariance(settings: np.ndarray) -> np.ndarray:
    """Dense covariance of the rows: noise, the walk from 0 at the first row, and the second part."""
    level, variance, rate = np.exp(settings[:3])
    early = np.minimum.outer(TIMES, TIMES)
    result = np.eye(len(TIMES)) + level * early
    apart = np.abs(np.subtract.outer(TIMES, TIMES))
    if settings[3] == 0:
        return result + variance * np.exp(-rate * apart)
    # Integral of a stationary velocity from 0: both integrals of its covariance.
    a, b = np.meshgrid(TIMES, TIMES)
    rest = np.exp(-rate * a) + np.exp(-rate * b) - np.exp(-rate * apart) - 1
    return result + variance * (2 * early / rate + rest / rate**2)


@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_whitened_columns_have_the_inner_products_of_the_dense_covariance(smooth):
    settings = np.array([[-1.0, 0.5, -1.5, smooth], [-4.0, 2.0, -0.5, smooth]])
    columns = np.random.default_rng(0).normal(size=(len(TIMES), 3))
    whitener = Whitener(np.diff(TIMES, prepend=0.0), settings)
    white = whitener.whiten(columns)
    for j in range(2):
        dense = covariance(settings[j])
        expected = columns.T @ np.linalg.solve(dense, columns)
        np.testing.assert_allclose(white[:, j].T @ white[:, j], expected, rtol=1e-9)
        np.testing.assert_allclose(np.log(whitener.innovation[:, j]).sum(), np.linalg.slogdet(dense)[1], rtol=1e-9)
        alone = Whitener(np.diff(TIMES, prepend=0.0), settings[j : j + 1]).whiten(columns)
        np.testing.assert_allclose(alone[:, 0], white[:, j], rtol=1e-12)


def test_the_background_fitted_is_as_likely_as_the_one_simulated():
    rng = np.random.default_rng(1)
    gaps = np.append(0.0, rng.exponential(size=299))
    times = gaps.cumsum()
    truth = np.array([np.log(0.05), np.log(4.0), np.log(0.3), 0.0])
    second = 4.0 * np.exp(-0.3 * np.abs(np.subtract.outer(times, times)))
    factor = np.linalg.cholesky(np.eye(300) + 0.05 * np.minimum.outer(times, times) + second)
    values = factor @ rng.normal(size=300)
    fixed = np.ones((300, 1))
    (fit,) = fit_backgrounds(gaps, fixed, values, [np.empty((300, 0))])

    def likelihood(settings: np.ndarray) -> float:
        """Of the values without their mean by generalised least squares, the size of the noise profiled."""
        whitener = Whitener(gaps, settings[None])
        white = whitener.whiten(np.column_stack([fixed, values]))[:, 0]
        triangle = np.linalg.qr(white)[1]
        size, mean = np.abs(triangle[1, 1]), np.abs(triangle[0, 0])
        return -299 * np.log(size) - np.log(mean) - 0.5 * np.log(whitener.innovation).sum()

    # The weak priors may cost a little. Three parameters gain 1.5 nats over the truth on average.
    assert -1.5 < likelihood(fit.settings) - likelihood(truth) < 8.0
    assert fit.log_posterior == pytest.approx(likelihood(fit.settings), abs=3.0)


def test_clipping_moves_the_outliers_and_nothing_else():
    values = np.random.default_rng(2).normal(size=200)
    values[[50, 51, 120]] += 40.0
    background = Background(np.array([-9.0, -9.0, -1.0, 0.0]), 0.0)
    cleaned = clip_innovations(np.append(0.0, np.ones(199)), np.ones((200, 1)), values, background)
    assert np.flatnonzero(cleaned != values).tolist() == [50, 51, 120]
    assert (np.abs(cleaned[[50, 51, 120]]) < 8.0).all()

"""Harmonic fits and posteriors of shapes against the same worked with dense matrices."""

from __future__ import annotations

import numpy as np
import pytest

from tsode.models.folded.harmonics import design, fit_harmonics, gram, harmonic_powers, predict
from tsode.models.folded.observations import Observations
from tsode.models.folded.shape import own_shape, posterior, rotation

H, D = 3, 7


@pytest.fixture
def data() -> Observations:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(40, 3))
    values[generator.uniform(size=values.shape) < 0.3] = np.nan
    values[:, 1] = np.nan
    return Observations.of(np.sort(generator.uniform(size=40)), values)


def test_channels_stand_one_after_another_in_robust_units(data):
    assert data.present.tolist() == [0, 2]
    assert data.starts.tolist() == [0, data.counts[0]]
    for part in np.split(data.values, data.starts[1:]):
        assert np.median(part) == pytest.approx(0.0, abs=1e-12)
        assert 1.4826 * np.median(np.abs(part)) == pytest.approx(1.0)


def test_sums_of_powers_give_the_products_of_the_designs(data):
    frequencies, weights = np.array([3.3, 17.1]), np.random.default_rng(1).uniform(size=(2, len(data.times)))
    powers = harmonic_powers(data, frequencies, H)
    product, right = gram(data, powers, weights)
    coefficients = np.random.default_rng(2).normal(size=(2, 2, D))
    fitted = predict(data, powers, coefficients)
    for i, frequency in enumerate(frequencies):
        for k, at in enumerate((slice(0, data.starts[1]), slice(data.starts[1], None))):
            columns = design(frequency * data.times[at], H)
            weighted = columns * weights[i, at, None]
            np.testing.assert_allclose(product[i, k], columns.T @ weighted, atol=1e-11)
            np.testing.assert_allclose(right[i, k], weighted.T @ data.values[at], atol=1e-11)
            np.testing.assert_allclose(fitted[i, at], columns @ coefficients[i, k], atol=1e-11)


def test_the_evidence_of_a_frequency_is_that_of_the_dense_gaussian(data):
    frequencies = np.array([3.3, 17.1])
    evidence = fit_harmonics(data, frequencies, H, signal=10.0).evidence

    def dense(frequency: float) -> float:
        total = 0.0
        for part, times in zip(np.split(data.values, data.starts[1:]), np.split(data.times, data.starts[1:]),
                               strict=True):  # fmt: skip
            columns, fall = design(frequency * times, H), 10.0 * np.arange(1.0, H + 1) ** -3.0
            covariance = np.eye(len(part)) + columns * np.concatenate([[1e4], fall, fall]) @ columns.T
            # the noise's variance integrated out with one degree of freedom less
            total -= 0.5 * (len(part) - 1) * np.log(part @ np.linalg.solve(covariance, part))
            total -= 0.5 * np.linalg.slogdet(covariance)[1]
        return total

    assert np.diff(evidence)[0] == pytest.approx(dense(17.1) - dense(3.3), abs=1e-7)


def test_a_rotation_moves_the_phase():
    coefficients = np.random.default_rng(0).normal(size=D)
    phase = np.linspace(0.0, 1.0, 11)
    moved = rotation(np.array(0.23), H) @ coefficients
    np.testing.assert_allclose(design(phase, H) @ moved, design(phase + 0.23, H) @ coefficients, atol=1e-12)


def test_posteriors_of_shapes_are_those_of_the_dense_gaussian(data):
    shape = own_shape(2, H, share=0.6)
    shape.mean[:] = np.random.default_rng(3).normal(size=shape.mean.shape)
    frequencies, phases = np.array([3.3, 17.1]), np.array([0.0, 0.3])
    noise = np.array([[0.5, 0.7], [0.4, 0.9]])
    # at squares of one standard deviation, all weights are 1
    found = posterior(data, shape, frequencies, phases, noise, data.spread(noise))
    evidence = np.empty((2, 2))
    for i, frequency in enumerate(frequencies):
        for j, phase in enumerate(phases):
            columns = np.zeros((len(data.times), 2, D))
            for k, at in enumerate((slice(0, data.starts[1]), slice(data.starts[1], None))):
                columns[at, k] = design(frequency * data.times[at] + phase, H)
            columns = columns.reshape(len(columns), -1)
            prior, variance = shape.covariance.reshape(2 * D, 2 * D), data.spread(noise[i])
            away = data.values - columns @ shape.mean.ravel()
            covariance = columns @ prior @ columns.T + np.diag(variance)
            aligned = shape.mean.ravel() + prior @ columns.T @ np.linalg.solve(covariance, away)
            moved = aligned.reshape(2, D) @ rotation(phases[j], H).T
            np.testing.assert_allclose(found.mean[i, j], moved, atol=1e-9)
            evidence[i, j] = -0.5 * away @ np.linalg.solve(covariance, away) - 0.5 * np.linalg.slogdet(covariance)[1]
    apart = found.evidence - evidence
    # what the t density adds at its tangent point is the same at all phases of a frequency
    np.testing.assert_allclose(apart[:, 0], apart[:, 1], atol=1e-9)

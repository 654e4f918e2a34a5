"""Harmonic fits at many frequencies at once: each channel has its own coefficients, and a ridge that grows with k."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from tsode.models.folded.observations import Observations

__all__ = ["HarmonicFit", "design", "fit_harmonics", "gram", "harmonic_powers", "predict"]

STEEPNESS = 3.0  # the prior variance of harmonic k falls as k to minus this
CLIP = 3.0  # robust standard deviations from which on a residual counts no more


@dataclass(frozen=True)
class HarmonicFit:
    """Fits at f frequencies to a series with values of k channels.

    Parameters
    ----------
    coefficients : array[f k 2h+1]
        Level, h cosines and h sines of each channel.
    evidence : array[f]
        Log marginal likelihood, up to a constant that the frequencies share.
    weights, residuals : array[f n]
        Of each value.
    """

    coefficients: np.ndarray
    evidence: np.ndarray
    weights: np.ndarray
    residuals: np.ndarray

    def at(self, chosen: np.ndarray) -> HarmonicFit:
        """The fits at some of the frequencies."""
        return HarmonicFit(*(getattr(self, part.name)[chosen] for part in fields(self)))


def design(phase: np.ndarray, n_harmonics: int) -> np.ndarray:
    """Columns 1, cos(k phase) and sin(k phase), k = 1 .. h, of phases in cycles: (...) -> (... 2h+1)."""
    angle = 2.0 * np.pi * phase[..., None] * np.arange(1, n_harmonics + 1)
    return np.concatenate([np.ones_like(phase)[..., None], np.cos(angle), np.sin(angle)], axis=-1)


def harmonic_powers(data: Observations, frequencies: np.ndarray, n_harmonics: int) -> np.ndarray:
    """``exp(2 pi i k f t)`` for k = 0 .. 2h: array[2h+1 f n]."""
    turn = np.exp(2j * np.pi * (frequencies[:, None] * data.times))
    powers = np.empty((2 * n_harmonics + 1, *turn.shape), dtype=complex)
    powers[0] = 1.0
    for k in range(1, len(powers)):
        np.multiply(powers[k - 1], turn, out=powers[k])
    return powers


def gram(data: Observations, powers: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Products ``X' W X`` (f k d d) and ``X' W y`` (f k d) of each channel's design, d = 2h+1, from sums of powers."""
    h = len(powers) // 2
    moments = np.moveaxis(data.sum(powers * weights), 0, -1)  # (f k 2h+1)
    cross = np.moveaxis(data.sum(powers[: h + 1] * (weights * data.values)), 0, -1)
    order = np.arange(1, h + 1)
    gap = order[:, None] - order
    plus, minus = moments[..., order[:, None] + order], moments[..., np.abs(gap)]
    product = np.empty((*moments.shape[:-1], 2 * h + 1, 2 * h + 1))
    cosines, sines = slice(1, h + 1), slice(h + 1, None)
    product[..., 0, 0] = moments[..., 0].real
    product[..., 0, cosines] = product[..., cosines, 0] = moments[..., cosines].real
    product[..., 0, sines] = product[..., sines, 0] = moments[..., cosines].imag
    product[..., cosines, cosines] = 0.5 * (minus.real + plus.real)
    product[..., sines, sines] = 0.5 * (minus.real - plus.real)
    product[..., sines, cosines] = 0.5 * (plus.imag + np.sign(gap) * minus.imag)
    product[..., cosines, sines] = np.swapaxes(product[..., sines, cosines], -1, -2)
    return product, np.concatenate([cross.real, cross[..., 1:].imag], axis=-1)


def predict(data: Observations, powers: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Values of the fits (f k 2h+1) at their observations: array[f n]."""
    h = coefficients.shape[-1] // 2
    total = data.spread(coefficients[..., 0])
    for k in range(1, h + 1):
        total += data.spread(coefficients[..., k]) * powers[k].real
        total += data.spread(coefficients[..., h + k]) * powers[k].imag
    return total


def fit_harmonics(
    data: Observations, frequencies: np.ndarray, n_harmonics: int, signal: float, n_rounds: int = 0
) -> HarmonicFit:
    """Posterior means and evidences at each of `frequencies` (f), in cycles a span.

    The noise of each channel is integrated out.

    Parameters
    ----------
    signal : float
        Prior variance of a coefficient of the first harmonic, in variances of the noise.
    n_rounds : int
        Rounds after the first, in which residuals beyond `CLIP` robust standard deviations lose weight.
    """
    growth = np.arange(1.0, n_harmonics + 1) ** STEEPNESS / signal
    precision = np.concatenate([[1e-4], growth, growth])  # the level is all but free
    powers = harmonic_powers(data, frequencies, n_harmonics)
    weights = np.ones(powers.shape[1:])
    for round_ in range(n_rounds + 1):
        product, right = gram(data, powers, weights)
        product += np.diag(precision)
        coefficients = np.linalg.solve(product, right[..., None])[..., 0]
        residuals = data.values - predict(data, powers, coefficients)
        if round_ < n_rounds:
            away = np.abs(residuals) / (CLIP * robust_scale(data, residuals))
            weights = 1.0 / np.maximum(away, 1.0) ** 2
    lost = data.sum(weights * data.values**2) - (right * coefficients).sum(axis=-1)
    log_det = np.linalg.slogdet(product)[1] - np.log(precision).sum()
    # a clipped residual loses what one at the clip does, so that all values count whatever their weights
    spread = np.log(np.maximum(lost, 1e-9 * data.counts) / data.counts)
    evidence = -0.5 * ((data.counts - 1.0) * spread + log_det).sum(axis=-1)
    return HarmonicFit(coefficients, evidence, weights, residuals)


def robust_scale(data: Observations, residuals: np.ndarray) -> np.ndarray:
    """Median absolute residual of each channel as a standard deviation, at every value: (f n) -> (f n)."""
    parts = np.split(np.abs(residuals), data.starts[1:], axis=-1)
    return data.spread(np.stack([1.4826 * np.median(part, axis=-1) + 1e-9 for part in parts], axis=-1))

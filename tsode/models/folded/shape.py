"""Gaussian prior of a folded shape: coefficients of all channels in one vector, and posteriors over phase shifts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsode.models.folded.harmonics import gram, harmonic_powers
from tsode.models.folded.observations import Observations

__all__ = ["FREEDOM", "Posterior", "Shape", "own_shape", "posterior", "rotation"]

FREEDOM = 4.0  # of the t distribution that the errors have
STEEPNESS = 2.5  # the variance of harmonic k of a shape falls as k to minus this


@dataclass(frozen=True)
class Shape:
    """Normal distribution of the coefficients of c channels, where the phase is aligned.

    Parameters
    ----------
    mean : array[c d]
        Level, cosines and sines of each channel.
    covariance : array[c d c d]
    noise : array[c]
        Typical standard deviation of the residuals of each channel.
    """

    mean: np.ndarray
    covariance: np.ndarray
    noise: np.ndarray

    def of(self, data: Observations) -> Shape:
        """The same in the units of a series, of its channels alone."""
        at, scale = data.present, data.scale
        covariance = self.covariance[at][:, :, at] / (scale[:, None, None, None] * scale[:, None])
        return Shape(self.mean[at] / scale[:, None], covariance, self.noise[at] / scale)


def own_shape(n_channels: int, n_harmonics: int, share: float) -> Shape:
    """A wide prior of any shape, in robust spreads of each channel; channels are correlated by `share`."""
    fall = 0.7 * np.arange(1.0, n_harmonics + 1) ** -STEEPNESS
    variance = np.concatenate([[1.0], fall, fall])
    d = len(variance)
    covariance = np.zeros((n_channels, d, n_channels, d))
    for i in range(d):
        covariance[:, i, :, i] = variance[i] * ((1.0 - share) * np.eye(n_channels) + share if i else np.eye(n_channels))
    return Shape(np.zeros((n_channels, d)), covariance, np.full(n_channels, 0.1))


@dataclass(frozen=True)
class Posterior:
    """Posteriors of the coefficients at f frequencies and p phase shifts.

    Parameters
    ----------
    evidence : array[f p]
    mean : array[f p k d]
        In the frequency's own phase, not in the aligned one.
    covariance : array[f p k d k d]
    noise : array[f p k]
        Variance of the noise.
    """

    evidence: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    noise: np.ndarray


def rotation(phase: np.ndarray, n_harmonics: int) -> np.ndarray:
    """Coefficients at a phase ``x`` from those at ``x + phase``: array[... d d]."""
    h = n_harmonics
    angle = 2.0 * np.pi * phase[..., None] * np.arange(1, h + 1)
    turn = np.zeros((*phase.shape, 2 * h + 1, 2 * h + 1))
    turn[..., 0, 0] = 1.0
    c, s = np.arange(1, h + 1), np.arange(h + 1, 2 * h + 1)
    turn[..., c, c] = turn[..., s, s] = np.cos(angle)
    turn[..., c, s], turn[..., s, c] = np.sin(angle), -np.sin(angle)
    return turn


def posterior(
    data: Observations,
    shape: Shape,
    frequencies: np.ndarray,
    phases: np.ndarray,
    noise: np.ndarray,
    residual: np.ndarray,
) -> Posterior:
    """Posteriors, with a lower bound of the log marginal likelihood under errors of a t distribution.

    The bound is Gaussian in the coefficients: tangent to the t density at the squared residuals given.

    Parameters
    ----------
    shape : Shape
        In the units of the series.
    frequencies : array[f]
    phases : array[p]
        In cycles.
    noise : array[f k]
        Variance of the noise of each channel.
    residual : array[f n]
        Expected squared residuals.
    """
    k, d = shape.mean.shape
    h = d // 2
    variance = data.spread(noise)
    weights = (FREEDOM + 1.0) / (FREEDOM + residual / variance)
    product, right = gram(data, harmonic_powers(data, frequencies, h), weights / variance)
    turn = rotation(phases, h)  # (p d d)
    mean = np.einsum("pij,kj->pki", turn, shape.mean)
    precision = np.linalg.inv(shape.covariance.reshape(k * d, k * d))
    log_det = -np.linalg.slogdet(precision)[1]
    precision = np.einsum("pij,kjlm,pnm->pkiln", turn, precision.reshape(k, d, k, d), turn, optimize=True)
    pull = np.einsum("pkiln,pln->pki", precision, mean)
    total = np.broadcast_to(precision, (len(frequencies), *precision.shape)).copy()
    at = np.arange(k)
    total[:, :, at, :, at, :] += product.transpose(1, 0, 2, 3)[:, :, None]
    total = total.reshape(len(frequencies), len(phases), k * d, k * d)
    sides = (right[:, None] + pull).reshape(*total.shape[:-1])
    covariance = np.linalg.inv(total)
    found = np.einsum("fpij,fpj->fpi", covariance, sides)
    tangent = -0.5 * np.log(variance) - 0.5 * (FREEDOM + 1.0) * np.log1p(residual / (FREEDOM * variance))
    tangent += 0.5 * weights * (residual - data.values**2) / variance
    evidence = 0.5 * (
        np.einsum("fpi,fpi->fp", sides, found)
        - np.einsum("pki,pki->p", pull, mean)
        - np.linalg.slogdet(total)[1]
        - log_det
    )
    wide = (*total.shape[:2], k, d)
    return Posterior(
        evidence + tangent.sum(axis=-1)[:, None],
        found.reshape(wide),
        covariance.reshape(*wide, k, d),
        np.broadcast_to(noise[:, None], wide[:3]),
    )

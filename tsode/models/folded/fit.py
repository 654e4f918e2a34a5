"""Fit of one folded series: the periods that its values leave open, each with a posterior of every channel's shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tsode.models.folded.harmonics import design, fit_harmonics, harmonic_powers, predict
from tsode.models.folded.observations import Observations
from tsode.models.folded.search import SIGNAL
from tsode.models.folded.shape import FREEDOM, Posterior, Shape, own_shape, posterior

__all__ = ["N_MODES", "PHASES", "FoldedFit", "Mode", "Moments", "find_modes"]

N_MODES = 4
PHASES = np.arange(40) / 40.0
N_SHAPED = 8  # frequencies that are looked at with a prior of the shape
N_ROUNDS = 3
NOISE_COUNT = 4.0  # values that the prior of a channel's noise is worth
FINE = 0.02 * np.arange(-4, 5)  # in cycles a span about a mode's frequency
FINE_PHASES = 0.01 * np.arange(-2, 3)


@dataclass(frozen=True)
class Mode:
    """A period and what is known of the shape if it is the right one.

    Parameters
    ----------
    evidence : float
        Log marginal likelihood.
    frequencies, shares : array[f]
        In cycles a span, close together, and their posterior probabilities.
    coefficients : array[f k d]
        Posterior means at each of them.
    best : int
        The likeliest of them.
    phase : float
        Shift at which the shape's prior fits it, in cycles.
    covariance : array[k d k d]
        Of the coefficients there.
    noise : array[k]
        Standard deviation of the errors of each channel.
    """

    evidence: float
    frequencies: np.ndarray
    shares: np.ndarray
    coefficients: np.ndarray
    best: int
    phase: float
    covariance: np.ndarray
    noise: np.ndarray

    @property
    def frequency(self) -> float:
        return float(self.frequencies[self.best])

    def at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Means, variances of the shape without noise, and slopes in a cycle, at `times` (m) in spans: (m k) each."""
        h = self.coefficients.shape[-1] // 2
        columns = design(times[:, None] * self.frequencies, h)  # (m f d)
        each = np.einsum("mfd,fkd->mfk", columns, self.coefficients)
        mean = np.einsum("f,mfk->mk", self.shares, each)
        apart = np.einsum("f,mfk->mk", self.shares, (each - mean[:, None]) ** 2)
        own = np.einsum("kdke->kde", self.covariance)
        smooth = apart + np.einsum("md,kde,me->mk", columns[:, self.best], own, columns[:, self.best])
        order, wave = 2.0 * np.pi * np.arange(1, h + 1), self.coefficients[self.best]
        turned = np.concatenate([order * wave[:, h + 1 :], -order * wave[:, 1 : h + 1]], axis=1)
        return mean, smooth, columns[:, self.best, 1:] @ turned.T


@dataclass(frozen=True)
class Moments:
    """Means and variances of every mode, in the units of the values: array[m modes k] each.

    Parameters
    ----------
    mean, variance : array[m modes k]
        Of the shape as it is known, and the noise.
    drifted : array[m modes k]
        What a phase that drifts by a cycle a span, from the middle of the history on, would add to the variance.
    """

    mean: np.ndarray
    variance: np.ndarray
    drifted: np.ndarray


@dataclass(frozen=True)
class FoldedFit:
    """Modes of one series, best first, with the origin and the unit of its time and of its values.

    Parameters
    ----------
    data : Observations
    origin, span : float
        First time, and time from it to the last.
    modes : sequence of Mode
    """

    data: Observations
    origin: float
    span: float
    modes: Sequence[Mode]

    @property
    def period(self) -> float:
        """The likeliest period, in the unit of the times."""
        return self.span / self.modes[0].frequency

    def at(self, times: np.ndarray) -> Moments:
        """Moments of every mode at `times` (m)."""
        times = (times - self.origin) / self.span
        mean, smooth, slope = (np.stack(x, axis=1) for x in zip(*(mode.at(times) for mode in self.modes), strict=True))
        unit = self.data.scale
        noise = np.broadcast_to(np.stack([(unit * mode.noise) ** 2 for mode in self.modes]), mean.shape)
        drifted = (unit * slope * (times - 0.5)[:, None, None]) ** 2
        return Moments(self.data.centre + unit * mean, unit**2 * smooth + noise, drifted)


def find_modes(
    data: Observations,
    shape: Shape | None,
    frequencies: np.ndarray,
    log_prior: np.ndarray,
    n_harmonics: int,
    n_modes: int = N_MODES,
) -> list[Mode]:
    """The likeliest of `frequencies` (f), refined, best first.

    Parameters
    ----------
    shape : Shape or None
        Pooled prior in the units of `data`; without one each channel has a shape of its own, or nearly shares it with
        the others if that has the greater evidence.
    log_prior : array[f]
        Of each frequency.
    """
    shapes = [own_shape(len(data.present), n_harmonics, share) for share in (0.0, 0.9)] if shape is None else [shape]
    phases = PHASES if shape is not None else np.zeros(1)
    first = fit_harmonics(data, frequencies, n_harmonics, SIGNAL, n_rounds=2)
    order = np.argsort(-(first.evidence + log_prior), kind="stable")[:N_SHAPED]
    first, frequencies, log_prior = first.at(order), frequencies[order], log_prior[order]
    squares = first.residuals**2
    posteriors = []
    for shape in shapes:
        noise = _noise(data, shape, squares, first.weights)
        posteriors.append((posterior(data, shape, frequencies, phases, noise, squares), noise, shape))
    found, noise, shape = max(posteriors, key=lambda entry: entry[0].evidence.max())
    rank = (found.evidence.max(axis=1) if len(phases) > 1 else first.evidence) + log_prior
    modes = []
    for i in np.argsort(-rank, kind="stable")[:n_modes]:
        phase = phases[found.evidence[i].argmax()]
        mode = _refine(data, shape, frequencies[i], phase, noise[i], squares[i], len(phases) > 1)
        modes.append(replace(mode, evidence=mode.evidence + log_prior[i]))
    return sorted(modes, key=lambda mode: -mode.evidence) if len(phases) > 1 else modes


def _refine(
    data: Observations,
    shape: Shape,
    frequency: float,
    phase: float,
    noise: np.ndarray,
    squares: np.ndarray,
    has_phase: bool,
) -> Mode:
    """Settle noise and weights at one frequency and phase; then look about them."""
    at, shift = np.array([frequency]), np.array([phase])
    for _ in range(N_ROUNDS):
        found = posterior(data, shape, at, shift, noise[None], squares[None])
        squares = _expected_squares(data, frequency, found)
        weights = (FREEDOM + 1.0) / (FREEDOM + squares / data.spread(noise))
        noise = _noise(data, shape, squares, weights)
    near, shifts = frequency + FINE, phase + (FINE_PHASES if has_phase else np.zeros(1))
    same = np.ones((len(near), 1))
    found = posterior(data, shape, near, shifts, same * noise, same * squares)
    top = found.evidence.max()
    share = np.exp(found.evidence - top)
    share /= share.sum()
    i, j = np.unravel_index(share.argmax(), share.shape)
    shares = share.sum(axis=1)
    coefficients = np.einsum("fp,fpkd->fkd", share, found.mean) / np.maximum(shares, 1e-300)[:, None, None]
    return Mode(float(top), near, shares, coefficients, int(i), float(shifts[j]), found.covariance[i, j], noise**0.5)


def _noise(data: Observations, shape: Shape, squares: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Variance of each channel's noise from squared residuals and the shape's prior: (... n) -> (... k)."""
    return (data.sum(weights * squares) + NOISE_COUNT * shape.noise**2) / (data.counts + NOISE_COUNT)


def _expected_squares(data: Observations, frequency: float, found: Posterior) -> np.ndarray:
    """Squared residuals at the mean and what the coefficients' variance adds: array[n]."""
    coefficients, covariance = found.mean[0, 0], found.covariance[0, 0]
    h = coefficients.shape[-1] // 2
    fitted = predict(data, harmonic_powers(data, np.array([frequency]), h), coefficients[None])[0]
    columns = design(frequency * data.times, h)
    own = data.spread(np.einsum("kdke->dek", covariance)).transpose(2, 0, 1)  # (n d d)
    return (data.values - fitted) ** 2 + np.einsum("nd,nde,ne->n", columns, own, columns)

"""Learning of a pooled shape from many series: phases aligned, coefficients of all channels Gaussian, by EM."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tsode.models.folded.fit import Mode, find_modes
from tsode.models.folded.harmonics import fit_harmonics
from tsode.models.folded.observations import Observations
from tsode.models.folded.search import SIGNAL
from tsode.models.folded.shape import Shape, rotation

__all__ = ["learn_shape"]

N_ROUNDS = 4
PRIOR_COUNT = 10.0  # series that the prior of the covariance is worth


def learn_shape(
    series: Sequence[tuple[Observations, np.ndarray]], n_channels: int, n_harmonics: int
) -> tuple[Shape, list[Mode]]:
    """A shape for all series, in the unit of their values, and the likeliest period of each under it.

    Parameters
    ----------
    series : sequence of (Observations, array[f])
        With the frequencies that are possible, best first.

    Returns
    -------
    Shape
    list of Mode
        One a series.
    """
    c, d = n_channels, 2 * n_harmonics + 1
    firsts = [fit_harmonics(data, frequencies[:1], n_harmonics, SIGNAL, n_rounds=2) for data, frequencies in series]
    coefficients, noise = np.full((len(series), c, d), np.nan), np.full((len(series), c), np.nan)
    for i, ((data, _), first) in enumerate(zip(series, firsts, strict=True)):
        coefficients[i, data.present] = first.coefficients[0] * data.scale[:, None]
        squares = data.sum(first.weights[0] * first.residuals[0] ** 2) / data.counts
        noise[i, data.present] = np.sqrt(squares) * data.scale
    size = np.hypot(coefficients[..., 1], coefficients[..., n_harmonics + 1])
    amplitude, typical = _median(size), _median(noise)
    # turned so that the first harmonic of the clearest channel is a cosine
    clearest = int(np.argmax(amplitude / typical * np.isfinite(size).mean(axis=0)))
    first_cosine, first_sine = (np.nan_to_num(coefficients[:, clearest, k]) for k in (1, n_harmonics + 1))
    phase = np.arctan2(first_sine, first_cosine) / (2.0 * np.pi)
    turned = np.einsum("sij,scj->sci", rotation(phase, n_harmonics), coefficients)
    mean = np.stack([_median(turned[:, k]) for k in range(c)])
    apart = np.nan_to_num(turned - mean)
    bound = 5.0 * amplitude[:, None]
    fall = 0.05 * np.arange(1.0, n_harmonics + 1) ** -3.0
    prior = np.diag((amplitude[:, None] ** 2 * np.concatenate([[0.05], fall, fall])).ravel())
    shape = _shape(mean, np.clip(apart, -bound, bound), np.zeros_like(prior), prior, typical)
    for _ in range(N_ROUNDS):
        modes = [_best(data, shape, frequencies) for data, frequencies in series]
        shape = _maximise(series, modes, shape, prior)
    return shape, modes


def _best(data: Observations, shape: Shape, frequencies: np.ndarray) -> Mode:
    modes = find_modes(
        data, shape.of(data), frequencies, np.zeros(len(frequencies)), len(shape.mean[0]) // 2, n_modes=1
    )
    return modes[0]


def _maximise(
    series: Sequence[tuple[Observations, np.ndarray]], modes: list[Mode], shape: Shape, prior: np.ndarray
) -> Shape:
    """The shape under which the aligned coefficients are likeliest; channels without values follow the old one."""
    (c, d), whole = shape.mean.shape, shape.covariance.reshape(prior.shape)
    means, spread = np.zeros((len(series), c, d)), np.zeros_like(prior)
    noise = np.full((len(series), c), np.nan)
    for i, ((data, _), mode) in enumerate(zip(series, modes, strict=True)):
        back = rotation(np.array(-mode.phase), d // 2)
        unit, at = data.scale[:, None], (data.present[:, None] * d + np.arange(d)).ravel()
        found = np.einsum("ij,kj->ki", back, mode.coefficients[mode.best]) * unit
        covariance = np.einsum("ij,kjlm,nm->kiln", back, mode.covariance, back, optimize=True)
        covariance = (covariance * unit[..., None, None] * unit).reshape(len(at), len(at))
        gain = whole[:, at] @ np.linalg.inv(whole[np.ix_(at, at)])
        means[i] = shape.mean + (gain @ (found - shape.mean[data.present]).ravel()).reshape(c, d)
        spread += whole + gain @ (covariance - whole[np.ix_(at, at)]) @ gain.T
        noise[i, data.present] = np.log(mode.noise * data.scale)
    typical = np.where(np.isfinite(noise).any(axis=0), np.exp(_median(noise)), shape.noise)
    mean = means.mean(axis=0)
    return _shape(mean, means - mean, spread, prior, typical)


def _shape(mean: np.ndarray, apart: np.ndarray, spread: np.ndarray, prior: np.ndarray, noise: np.ndarray) -> Shape:
    flat = apart.reshape(len(apart), -1)
    covariance = (flat.T @ flat + spread + PRIOR_COUNT * prior) / (len(flat) + PRIOR_COUNT)
    return Shape(mean, covariance.reshape(*mean.shape, *mean.shape), noise)


def _median(x: np.ndarray) -> np.ndarray:
    """Medians over the series of what is known; 1 where nothing is."""
    known = np.isfinite(x)
    columns = [np.median(x[known[:, k], k]) if known[:, k].any() else 1.0 for k in range(x.shape[1])]
    return np.array(columns)

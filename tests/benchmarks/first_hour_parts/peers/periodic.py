"""Light curves by the Lomb-Scargle periodogram and harmonics at the period that fits best."""

from __future__ import annotations

import numpy as np
from scipy.signal import lombscargle
from scipy.stats import norm

from tests.benchmarks.first_hour_parts.trials import Trial
from tests.benchmarks.structural_parts.scores import LEVELS

__all__ = ["forecast"]

PERIODS = (0.2, 1.2)  # days: those of RR Lyrae stars
OVERSAMPLING = 5
N_PEAKS, RIDGE = 40, 1e-3
HARMONICS = (1, 2, 3, 4, 5)


def forecast(trial: Trial) -> list[np.ndarray]:
    """Each star by itself: one period of all bands, harmonics of each band, normal errors of left-out nights."""
    answers = []
    for question in trial.questions:
        answer = np.full((*question.truth.shape, len(LEVELS)), np.nan)
        for name, rows in trial.train.groupby("unique_id"):
            places = np.flatnonzero(question.ahead["unique_id"] == name)
            asked = question.ahead["ds"].to_numpy(float)[places]
            bands = [rows[["ds", band]].dropna().to_numpy(float).T for band in trial.channels]
            frequency, n = _frequency(bands)
            for k, (times, values) in enumerate(bands):
                mean, deviation = _harmonics(times, values, frequency, n, asked)
                answer[places, k] = mean[:, None] + deviation * norm.ppf(LEVELS)
        answers.append(answer)
    return answers


def _frequency(bands: list[np.ndarray]) -> tuple[float, int]:
    """Frequency and number of harmonics that err least on what is left out, near peaks of the periodograms' sum."""
    span = max(times[-1] - times[0] for times, _ in bands)
    grid = np.arange(1.0 / PERIODS[1], 1.0 / PERIODS[0], 1.0 / (OVERSAMPLING * span))
    power = np.zeros(len(grid))
    for times, values in bands:
        power += lombscargle(times, values - values.mean(), 2.0 * np.pi * grid, normalize=True, floating_mean=True)
    is_peak = np.r_[False, (power[1:-1] > power[:-2]) & (power[1:-1] > power[2:]), False]
    peaks = np.flatnonzero(is_peak)
    best = grid[peaks[np.argsort(power[peaks])[-N_PEAKS:]]]
    near = np.concatenate([best + d / (OVERSAMPLING * span) for d in np.linspace(-1.0, 1.0, 11)])
    choices = [(float(f), n) for f in near for n in HARMONICS]
    return min(choices, key=lambda choice: sum(_left_over(times, values, *choice) for times, values in bands))


def _design(times: np.ndarray, frequency: float, n: int) -> np.ndarray:
    phase = 2.0 * np.pi * frequency * times
    waves = [f(k * phase) for k in range(1, n + 1) for f in (np.sin, np.cos)]
    return np.stack([np.ones_like(phase), *waves], axis=1)


def _solve(design: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients, and leverages of the rows; high harmonics are held back."""
    order = np.r_[0.0, np.repeat(np.arange(1, design.shape[1] // 2 + 1), 2)]
    inverse = np.linalg.inv(design.T @ design + np.diag(RIDGE * len(values) * order**2))
    return inverse @ design.T @ values, np.einsum("ij,jk,ik->i", design, inverse, design)


def _left_over(times: np.ndarray, values: np.ndarray, frequency: float, n: int) -> float:
    """Log of the mean squared error of values left out in turn, times their number."""
    design = _design(times, frequency, n)
    weights, leverage = _solve(design, values)
    return float(len(values) * np.log(np.mean(((values - design @ weights) / (1.0 - leverage)) ** 2)))


def _harmonics(
    times: np.ndarray, values: np.ndarray, frequency: float, n: int, asked: np.ndarray
) -> tuple[np.ndarray, float]:
    design = _design(times, frequency, n)
    weights, leverage = _solve(design, values)
    error = (values - design @ weights) / (1.0 - leverage)
    return _design(asked, frequency, n) @ weights, float(np.sqrt(np.mean(error**2)))

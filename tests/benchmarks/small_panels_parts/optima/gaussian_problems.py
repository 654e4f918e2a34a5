"""Gaussian problems of the literature on neural jump ODEs: Brownian motions, in part seen, and what is made of them.

References: F. Krach, M. Nuebel, J. Teichmann, "Optimal estimation of generic dynamics by path-dependent neural jump
ODEs", arXiv:2206.14284; W. Andersson, J. Heiss, F. Krach, J. Teichmann, "Extending path-dependent NJ-ODEs to noisy
observations and a dependent observation framework", arXiv:2307.13147; J. Heiss, F. Krach, T. Schmidt, F.
Tambe-Ndonfack, "Nonparametric filtering, estimation and classification using neural jump ODEs", arXiv:2412.03271.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.benchmarks.small_panels_parts.optima.gaussian import GaussianProblem
from tests.benchmarks.small_panels_parts.optima.paths import Paths, loss
from tests.benchmarks.structural_parts.report import Report

__all__ = ["FractionalBrownian", "filtering", "noisy_brownian", "ornstein_uhlenbeck", "time_lag", "uncertain_drift"]


def ornstein_uhlenbeck(is_drawn: bool = False) -> GaussianProblem:
    """Speed 2, mean 4, sigma 0.3, start 1."""
    speed, level, sigma, start = 2.0, 4.0, 0.3, 1.0

    def mean(times: np.ndarray) -> np.ndarray:
        return (level + (start - level) * np.exp(-speed * times))[..., None]

    def covariance(s: np.ndarray, t: np.ndarray) -> np.ndarray:
        return _one(sigma**2 / (2.0 * speed) * (np.exp(-speed * np.abs(t - s)) - np.exp(-speed * (t + s))))

    return GaussianProblem(f"Ornstein-Uhlenbeck{_times(is_drawn)}", mean, covariance, is_drawn=is_drawn)


def noisy_brownian(is_drawn: bool = False) -> GaussianProblem:
    """Seen with noise 0.5, and without at the start."""

    def covariance(s: np.ndarray, t: np.ndarray) -> np.ndarray:
        return _one(np.minimum(s, t))

    return GaussianProblem(f"noisy Brownian{_times(is_drawn)}", _zero(1), covariance, noise=0.5, is_drawn=is_drawn)


def filtering(share: float) -> GaussianProblem:
    """A sum of a signal and noise, both Brownian; the signal is seen at times in training, and never in the test."""

    def covariance(s: np.ndarray, t: np.ndarray) -> np.ndarray:
        return np.minimum(s, t)[..., None, None] * np.array([[2.0, 1.0], [1.0, 1.0]])

    return GaussianProblem(
        f"Brownian filtering, signal seen {share:g}", _zero(2), covariance, channels=("sum", "signal"),
        shares=(1.0, share), test_shares=(1.0, 0.0), is_start_seen=(True, True), n_paths=40_000, horizon=1.0,
    )  # fmt: skip


def uncertain_drift(share: float = 0.25) -> GaussianProblem:
    """Sigma 0.2 and a drift from N(0.05, 0.1^2), which is seen as `filtering`'s signal is."""
    sigma, drift, spread = 0.2, 0.05, 0.1

    def mean(times: np.ndarray) -> np.ndarray:
        return np.stack([drift * times, np.full_like(times, drift)], axis=-1)

    def covariance(s: np.ndarray, t: np.ndarray) -> np.ndarray:
        s, t = np.broadcast_arrays(s, t)
        own = spread**2 * s * t + sigma**2 * np.minimum(s, t)
        rows = np.stack([own, spread**2 * s, spread**2 * t, np.full_like(own, spread**2)], axis=-1)
        return rows.reshape(*own.shape, 2, 2)

    return GaussianProblem(
        "Brownian, uncertain drift", mean, covariance, channels=("x", "drift"), shares=(1.0, share),
        test_shares=(1.0, 0.0), is_start_seen=(True, False), horizon=1.0,
    )  # fmt: skip


def time_lag(lag: float = 0.19, share: float = 0.5) -> GaussianProblem:
    """The second channel is the first, 19 steps later, and seen half as often."""
    lags = np.array([0.0, lag])

    def covariance(s: np.ndarray, t: np.ndarray) -> np.ndarray:
        ahead = np.minimum(s[..., None, None] - lags[:, None], t[..., None, None] - lags)
        return np.where(ahead > 1e-9, ahead, 0.0)

    return GaussianProblem(
        "Brownian, time lag", _zero(2), covariance, channels=("x", "later"), shares=(1.0, share),
        is_start_seen=(True, True),
    )  # fmt: skip


class FractionalBrownian(GaussianProblem):
    """Increments that hang on all that went before: what is reached is told beside the best by the last value alone."""

    def __init__(self, hurst: float, **how: Any) -> None:
        def covariance(s: np.ndarray, t: np.ndarray) -> np.ndarray:
            return _one(0.5 * (s ** (2 * hurst) + t ** (2 * hurst) - np.abs(t - s) ** (2 * hurst)))

        super().__init__(f"fractional Brownian, H = {hurst:g}", _zero(1), covariance, bar=None, **how)

    def tell(
        self, report: Report, who: str, paths: Paths, best: np.ndarray, forecast: np.ndarray, has_bar: bool
    ) -> None:
        super().tell(report, who, paths, best, forecast, has_bar)
        by_last = loss(paths, self.best_by_last(paths), 0) / loss(paths, best, 0)
        report.note(f"{self.name}: the best by the last value alone: {by_last:.4f}")

    def best_by_last(self, paths: Paths) -> np.ndarray:
        """array[n k 1]: the best forecasts of a filter that keeps the last value and no more."""
        is_seen = ~np.isnan(paths.values[..., 0])
        places = np.where(is_seen, np.arange(is_seen.shape[1]), 0)
        last = np.zeros_like(places)
        last[:, 1:] = np.maximum.accumulate(places, axis=1)[:, :-1]
        value, when = (np.take_along_axis(of, last, axis=1) for of in (paths.values[..., 0], paths.times))
        own = self.covariance(when, when)[..., 0, 0]
        across = self.covariance(paths.times, when)[..., 0, 0]
        return (np.divide(across, own, out=np.zeros_like(own), where=own > 0.0) * value)[..., None]


def _zero(n_channels: int) -> Any:
    return lambda times: np.zeros((*times.shape, n_channels))


def _one(covariance: np.ndarray) -> np.ndarray:
    """Of a single channel."""
    return covariance[..., None, None]


def _times(is_drawn: bool) -> str:
    return ", times drawn" if is_drawn else ""

"""Gaussian problems: paths drawn from a covariance, and the optimum by conditioning on what was seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.benchmarks.small_panels_parts.optima.paths import Paths, Problem, drawn_times, grid_times, seen_at

__all__ = ["GaussianProblem", "conditioned", "joint_covariance"]

Covariance = Callable[[np.ndarray, np.ndarray], np.ndarray]

SHAKE = 1e-11  # variance added for a factor of what is singular, as a channel that repeats another
KNOWN = 1e-8  # a value of less variance than this is known already
CHUNK = 200  # paths at a time


class GaussianProblem(Problem):
    """Paths of a Gaussian process of several channels.

    Parameters
    ----------
    mean : array[n k] -> array[n k c]
    covariance : array[...], array[...] -> array[... c c]
        Of the channels at one time with those at another.
    shares, test_shares : of each channel
        How often it is seen at a time that is seen, in training and in the test.
    is_start_seen : of each channel
    noise : float
        Standard deviation of what is seen, except at the start.
    is_drawn : bool
        Whether times are drawn evenly from [0, 1] instead of from the grid.
    """

    def __init__(
        self, name: str, mean: Callable[[np.ndarray], np.ndarray], covariance: Covariance, *,
        channels: tuple[str, ...] = ("x",), shares: tuple[float, ...] = (1.0,),
        test_shares: tuple[float, ...] | None = None, is_start_seen: tuple[bool, ...] = (True,), noise: float = 0.0,
        chance: float = 0.1, is_drawn: bool = False, **sizes: float | None,
    ) -> None:  # fmt: skip
        self.name, self.mean, self.covariance, self.channels = name, mean, covariance, channels
        self.shares, self.test_shares = shares, test_shares or shares
        self.is_start_seen, self.noise, self.chance, self.is_drawn = is_start_seen, noise, chance, is_drawn
        for key, value in sizes.items():
            setattr(self, key, value)

    def simulate(self, n: int, generator: np.random.Generator, is_test: bool = False) -> Paths:
        if self.is_drawn:
            times, is_asked, is_time = drawn_times(n, self.chance, generator)
        else:
            times, is_asked = grid_times(n)
            is_time = np.ones_like(is_asked)
        shares = self.test_shares if is_test else self.shares
        is_seen = seen_at(times, 1.0 if self.is_drawn else self.chance, shares, self.is_start_seen, generator)
        is_seen[:, 1:] &= is_time[:, 1:, None]
        truth = self.mean(times) + self._draw(times, generator)
        noise = self.noise * generator.standard_normal(truth.shape)
        noise[:, 0] = 0.0
        return Paths(times, truth, np.where(is_seen, truth + noise, np.nan), is_asked)

    def _draw(self, times: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        shape = (*times.shape, len(self.channels))
        normal = generator.standard_normal((shape[0], shape[1] * shape[2]))
        if not self.is_drawn:
            return (normal @ self._factor(times[:1])[0].T).reshape(shape)
        parts = [
            (self._factor(times[k : k + CHUNK]) @ normal[k : k + CHUNK, :, None])[..., 0]
            for k in range(0, len(times), CHUNK)
        ]
        return np.concatenate(parts).reshape(shape)

    def _factor(self, times: np.ndarray) -> np.ndarray:
        cov = joint_covariance(self.covariance, times)
        is_known = np.diagonal(cov, axis1=1, axis2=2) == 0.0
        factor = np.linalg.cholesky(cov + SHAKE * np.eye(cov.shape[1]))
        return np.where(is_known[..., None], 0.0, factor)

    def best(self, paths: Paths) -> np.ndarray:
        noise = np.full(paths.times.shape[1], self.noise**2)
        noise[0] = 0.0
        parts = []
        for k in range(0, len(paths.times), CHUNK):
            times, values = paths.times[k : k + CHUNK], paths.values[k : k + CHUNK]
            cov = joint_covariance(self.covariance, times if self.is_drawn else times[:1])
            parts.append(conditioned(self.mean(times), cov, values, noise))
        return np.concatenate(parts)


def joint_covariance(covariance: Covariance, times: np.ndarray) -> np.ndarray:
    """array[n kc kc] of all channels at all times (n k), the channels of one time side by side."""
    blocks = covariance(times[:, :, None], times[:, None, :])
    n, k, _, c, _ = blocks.shape
    return blocks.transpose(0, 1, 3, 2, 4).reshape(n, k * c, k * c)


def conditioned(mean: np.ndarray, cov: np.ndarray, values: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Means (n k c) of each value given those seen at earlier times.

    Every value seen adds a column to a factor of what is known, and moves the means of all others: the sequential
    form of conditioning on a growing set.

    Parameters
    ----------
    mean, values : array[n k c]
        `values` NaN where nothing was seen.
    cov : array[n kc kc] or array[1 kc kc]
    noise : array[k]
        Variance of what is seen at each time.
    """
    n, n_times, n_channels = values.shape
    belief, found = mean.reshape(n, -1).copy(), np.empty_like(mean)
    factor, count = np.zeros((n, n_times * n_channels, (~np.isnan(values)).sum(axis=(1, 2)).max())), np.zeros(n, int)
    for k in range(n_times):
        found[:, k] = belief[:, k * n_channels : (k + 1) * n_channels]
        for c in range(n_channels):
            place, rows = k * n_channels + c, np.flatnonzero(~np.isnan(values[:, k, c]))
            known = factor[rows]
            column = cov[rows % len(cov), :, place] - (known @ known[:, place, :, None])[..., 0]
            is_new = column[:, place] > KNOWN
            rows, column = rows[is_new], column[is_new]
            spread = column[:, place] + noise[k]
            belief[rows] += column * ((values[rows, k, c] - belief[rows, place]) / spread)[:, None]
            factor[rows, :, count[rows]] = column / np.sqrt(spread)[:, None]
            count[rows] += 1
    return found

"""Cox-Ingersoll-Ross processes of unknown parameters: ``dX = a (b - X) dt + sigma sqrt(X) dW`` from 1.

Each path has its own a from U(0.2, 2), b from U(1, 5) and sigma from U(0.05, 0.5). The optimum weighs a grid of them by
the densities of the steps from one value seen to the next, which are scaled noncentral chi-squared laws.

References: J. Cox, J. Ingersoll, S. Ross, "A theory of the term structure of interest rates", Econometrica 53 (1985),
equation 18; the problem is that of arXiv:2412.03271, where particles stand for the grid.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ive

from tests.benchmarks.small_panels_parts.optima.paths import Paths, Problem, grid_times, seen_at

__all__ = ["CIR", "log_density"]

LOW, HIGH = np.array([0.2, 1.0, 0.05]), np.array([2.0, 5.0, 0.5])
LET_GO = 40.0  # what is e^40 times less likely than the best so far is no longer looked at
DEBYE_FROM = 20.0  # order of the Bessel function from which three terms for large orders are right to 1e-7


class CIR(Problem):
    name = "CIR, parameters of each path"
    n_paths, n_test, bar = 100_000, 1_000, 1.05
    chance = 0.1

    def __init__(self, n_grid: tuple[int, int, int] = (40, 40, 16)) -> None:
        a, b = (low + (high - low) * (np.arange(n) + 0.5) / n for low, high, n in zip(LOW[:2], HIGH[:2], n_grid))
        edges = np.geomspace(LOW[2], HIGH[2], n_grid[2] + 1)  # a value tells sigma to a share of it
        nodes = np.meshgrid(a, b, 0.5 * (edges[1:] + edges[:-1]), indexing="ij")
        self.nodes = np.stack([axis.ravel() for axis in nodes])
        self.log_prior = np.log(np.broadcast_to(np.diff(edges), n_grid).ravel())

    def simulate(self, n: int, generator: np.random.Generator, is_test: bool = False) -> Paths:
        times, is_asked = grid_times(n)
        a, b, sigma = generator.uniform(LOW, HIGH, (n, 3)).T
        truth = np.ones(times.shape)
        for k, gap in enumerate(np.diff(times[0])):
            unit = sigma**2 * -np.expm1(-a * gap) / (4.0 * a)
            shift = truth[:, k] * np.exp(-a * gap) / unit
            truth[:, k + 1] = unit * generator.noncentral_chisquare(4.0 * a * b / sigma**2, shift)
        is_seen = seen_at(times, self.chance, (1.0,), (True,), generator)[..., 0]
        return Paths(times, truth[..., None], np.where(is_seen, truth, np.nan)[..., None], is_asked)

    def best(self, paths: Paths) -> np.ndarray:
        found = [self._forecast(times, values[:, 0]) for times, values in zip(paths.times, paths.values)]
        return np.stack(found)[..., None]

    def _forecast(self, times: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Means (k) of one path."""
        places = np.flatnonzero(~np.isnan(values))
        (a, b, sigma), log_weight, found = self.nodes, self.log_prior, np.empty(len(times))
        found[: places[0] + 1] = values[places[0]]
        for here, after in zip(places, [*places[1:], len(times) - 1]):
            weight = np.exp(log_weight - log_weight.max())
            weight /= weight.sum()
            ahead = slice(here + 1, after + 1)
            keep = np.exp(-a * (times[ahead, None] - times[here]))
            found[ahead] = (b + (values[here] - b) * keep) @ weight
            if np.isnan(values[after]) or after == here:
                continue
            log_weight = log_weight + log_density(values[after], values[here], times[after] - times[here], a, b, sigma)
            is_left = log_weight > log_weight.max() - LET_GO
            a, b, sigma, log_weight = a[is_left], b[is_left], sigma[is_left], log_weight[is_left]
        return found


def log_density(x: float, before: float, gap: float, a: np.ndarray, b: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Of a value a gap after another, under each of several parameters."""
    scale = 2.0 * a / (sigma**2 * -np.expm1(-a * gap))
    u, v, order = scale * before * np.exp(-a * gap), scale * x, 2.0 * a * b / sigma**2 - 1.0
    return np.log(scale) - u - v + 0.5 * order * np.log(v / u) + _log_bessel(order, 2.0 * np.sqrt(u * v))


def _log_bessel(order: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Logarithm of the modified Bessel function of the first kind.

    Reference: Digital Library of Mathematical Functions, 10.41.3 and 10.41.10, for large orders.
    """
    is_small = order < DEBYE_FROM
    found = np.empty_like(z)
    found[is_small] = np.log(ive(order[is_small], z[is_small])) + z[is_small]
    n, y = order[~is_small], z[~is_small] / order[~is_small]
    root = np.sqrt(1.0 + y**2)
    p = 1.0 / root
    terms = (
        (3.0 * p - 5.0 * p**3) / 24.0 / n
        + (81.0 * p**2 - 462.0 * p**4 + 385.0 * p**6) / 1152.0 / n**2
        + (30375.0 * p**3 - 369603.0 * p**5 + 765765.0 * p**7 - 425425.0 * p**9) / 414720.0 / n**3
    )
    exponent = n * (root + np.log(y / (1.0 + root)))
    found[~is_small] = exponent - 0.5 * np.log(2.0 * np.pi * n * root) + np.log1p(terms)
    return found

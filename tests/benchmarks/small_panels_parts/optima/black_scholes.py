"""Black-Scholes problems: growth by ``dX = 2 X dt + 0.3 X dW`` from 1, seen when it is high, or hardly at all.

Reference: as in `gaussian_problems`; long gaps are those of F. Krach, J. Teichmann, "Learning chaotic systems and
long-term predictions with neural jump ODEs", arXiv:2407.18808.
"""

from __future__ import annotations

import numpy as np

from tests.benchmarks.small_panels_parts.optima.paths import Paths, Problem, drawn_times, grid_times, seen_at

__all__ = ["DependentObservations", "LongGaps"]

GROWTH, SIGMA = 2.0, 0.3


class BlackScholes(Problem):
    def grow(self, times: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Values (n k), exactly."""
        gaps = np.diff(times, axis=1, prepend=0.0)
        steps = SIGMA * np.sqrt(gaps) * generator.standard_normal(gaps.shape) + (GROWTH - 0.5 * SIGMA**2) * gaps
        return np.exp(np.cumsum(steps, axis=1))

    def best(self, paths: Paths) -> np.ndarray:
        """The last value seen, grown at the rate: however it came to be seen, it is all that counts."""
        is_seen = ~np.isnan(paths.values[..., 0])
        places = np.maximum.accumulate(np.where(is_seen, np.arange(is_seen.shape[1]), 0), axis=1)
        last = np.zeros_like(places)
        last[:, 1:] = places[:, :-1]
        value, when = (np.take_along_axis(of, last, axis=1) for of in (paths.values[..., 0], paths.times))
        return (value * np.exp(GROWTH * (paths.times - when)))[..., None]


class DependentObservations(BlackScholes):
    """The higher the last value seen, the likelier the next look.

    ``g`` steps after a look there is another with a chance of 0.1, or, with probability ``1 / g``, if and only if that
    value and a normal error of 3 reach the mean of all paths.
    """

    name = "Black-Scholes, dependent observations"
    chance, error = 0.1, 3.0

    def simulate(self, n: int, generator: np.random.Generator, is_test: bool = False) -> Paths:
        times, is_asked = grid_times(n)
        truth, is_seen = self.grow(times, generator), np.zeros(times.shape, dtype=bool)
        is_seen[:, 0] = True
        last, value = np.zeros(n), truth[:, 0]
        for k in range(1, times.shape[1]):
            is_high = value + self.error * generator.standard_normal(n) >= np.exp(GROWTH * times[:, k])
            is_seen[:, k] = np.where(generator.random(n) < 1.0 / (k - last), is_high, generator.random(n) < self.chance)
            last, value = np.where(is_seen[:, k], k, last), np.where(is_seen[:, k], truth[:, k], value)
        return Paths(times, truth[..., None], np.where(is_seen, truth, np.nan)[..., None], is_asked)


class LongGaps(BlackScholes):
    """Trained on paths of which a share of the grid is seen, and tested on those of which the start is seen alone."""

    horizon = 1.0

    def __init__(self, chance: float, is_drawn: bool = False) -> None:
        self.chance, self.is_drawn = chance, is_drawn
        self.name = f"Black-Scholes, long gaps, seen {chance:g}{', times drawn' if is_drawn else ''}"

    def simulate(self, n: int, generator: np.random.Generator, is_test: bool = False) -> Paths:
        if self.is_drawn and not is_test:
            times, is_asked, is_seen = drawn_times(n, self.chance, generator)
            is_seen[:, 0] = True
        else:
            times, is_asked = grid_times(n)
            is_seen = seen_at(times, 0.0 if is_test else self.chance, (1.0,), (True,), generator)[..., 0]
        truth = self.grow(times, generator)
        return Paths(times, truth[..., None], np.where(is_seen, truth, np.nan)[..., None], is_asked)

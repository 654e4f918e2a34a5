"""Families whose series differ in what no class of ours stands for, and the forecasts of one who knows the law.

Seen as those of `families` are.

- Damping: its oscillators at frequency 4, with a damping of each series, from 0.05 to 1.5 evenly in the logarithm.
  Filters over a grid of it, mixed.
- Level: its OU about a level of each series, from U(-3, 7). Filters over a grid of it, mixed.
- Pendulum: ``x'' = -9 sin x`` without noise of its own, of an amplitude of each series from U(0.3, 2.8) and begun at
  any time of its period, which grows with the amplitude; sensor noise 0.3. The law of both on a grid.
"""

from __future__ import annotations

import functools

import numpy as np
from scipy.special import ellipj, ellipk

from tests.benchmarks.small_panels_parts.families import HISTORY, OU, Family, Oscillators
from tests.benchmarks.small_panels_parts.mixed_filters import mixed_forecast

__all__ = ["OTHER_FAMILIES", "OwnDamping", "OwnLevel", "Pendulum"]


class OwnDamping(Oscillators):
    frequency, least, most = 4.0, 0.05, 1.5

    def __init__(self, n_grid: int = 121) -> None:
        self.grid = np.exp(_middles(np.log(self.least), np.log(self.most), n_grid))

    def path(self, times: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        damping = np.exp(generator.uniform(np.log(self.least), np.log(self.most)))
        return self.swing(self.frequency, damping, times, generator)

    def forecast(self, times: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
        return self.mix(np.full_like(self.grid, self.frequency), self.grid, times, values, asked)


class OwnLevel(OU):
    least, most = -3.0, 7.0

    def __init__(self, n_grid: int = 241) -> None:
        self.grid = _middles(self.least, self.most, n_grid)

    def path(self, times: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return super().path(times, generator) - self.mean + generator.uniform(self.least, self.most)

    def forecast(self, times: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
        def flow(gap: float) -> tuple[np.ndarray, np.ndarray]:
            decay = np.full(len(self.grid), np.exp(-self.speed * gap))
            return decay[:, None, None], 1.0 - decay**2

        variance = np.full_like(self.grid, self.sigma**2 / (2.0 * self.speed))
        return mixed_forecast(flow, variance, self.grid, self.noise, times, values, asked)


class Pendulum(Family):
    """Angle of a pendulum: with ``k = sin(amplitude / 2)``, sin(x / 2) = k sn(rate (t - t0), k^2).

    Reference: L. D. Landau, E. M. Lifshitz, "Mechanics", section 11, problem 1.
    """

    n_channels = 1
    rate, noise, least, most = 3.0, 0.3, 0.3, 2.8

    def __init__(self, n_amplitudes: int = 400, n_phases: int = 256) -> None:
        self.amplitudes = _middles(self.least, self.most, n_amplitudes)
        self.phases = np.arange(n_phases) / n_phases  # of a period, at the middle of the history

    def swing(self, amplitude: float | np.ndarray, turns: np.ndarray) -> np.ndarray:
        """Angles after this many periods from an upward passage."""
        m = np.sin(amplitude / 2.0) ** 2
        return 2.0 * np.arcsin(np.sqrt(m) * ellipj(4.0 * ellipk(m) * turns, m)[0])

    def period(self, amplitude: float | np.ndarray) -> np.ndarray:
        return 4.0 * ellipk(np.sin(amplitude / 2.0) ** 2) / self.rate

    def path(self, times: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        amplitude, phase = generator.uniform(self.least, self.most), generator.uniform()
        angles = self.swing(amplitude, phase + times / self.period(amplitude))
        return (angles + self.noise * generator.standard_normal(len(times)))[:, None]

    @functools.cached_property
    def table(self) -> np.ndarray:
        """Angles (a 2049) over one period, both ends included."""
        return self.swing(self.amplitudes[:, None], np.linspace(0.0, 1.0, 2049))

    def angles(self, time: float, amplitude: np.ndarray, phase: np.ndarray) -> np.ndarray:
        """Of pairs, given by their places on the grids, by straight lines between the entries of the table."""
        turns = (self.phases[phase] + (time - 0.5 * HISTORY) / self.period(self.amplitudes)[amplitude]) % 1.0
        place, n = turns * (self.table.shape[1] - 1), self.table.shape[1] - 1
        left = np.minimum(place.astype(int), n - 1)
        before, after = self.table[amplitude, left], self.table[amplitude, left + 1]
        return before + (place - left) * (after - before)

    def forecast(self, times: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """Pairs that are e^60 times less likely than the best so far are let go, for speed."""
        amplitude, phase = (
            np.ravel(axis) for axis in np.indices((len(self.amplitudes), len(self.phases)), dtype=np.int32)
        )
        log_weight = np.zeros(len(amplitude))
        for t, y in zip(times, values[:, 0]):
            log_weight -= 0.5 * ((y - self.angles(t, amplitude, phase)) / self.noise) ** 2
            is_left = log_weight > log_weight.max() - 60.0
            amplitude, phase, log_weight = amplitude[is_left], phase[is_left], log_weight[is_left]
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        return np.array([weight @ self.angles(t, amplitude, phase) for t in asked]).reshape(-1, 1)


def _middles(low: float, high: float, n: int) -> np.ndarray:
    """Of `n` even cells: points that stand for a uniform law."""
    return low + (high - low) * (np.arange(n) + 0.5) / n


OTHER_FAMILIES: dict[str, Family] = {"damping": OwnDamping(), "level": OwnLevel(), "pendulum": Pendulum()}

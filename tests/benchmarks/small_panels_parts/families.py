"""Simulated families of series, and the forecasts of one who knows the law: the optimum.

Every series is seen over a history of 5 and a horizon of 2.5, at gaps from Gamma(2, 0.15). A forecast is asked at each
time after the history at which something was seen.

- OU: ``dx = 0.7 (2 - x) dt + 1.3 dW``, noise 0.3.
- Oscillators: two channels that turn with a frequency from U(2, 6) of each series, damping 0.25 and noise 0.35 dW in
  both, sensor noise 0.2, of which 60 % are seen. The optimum knows all but the frequency: filters over a grid of it,
  mixed by what they make of the history.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import pandas as pd

from tests.benchmarks.small_panels_parts.mixed_filters import mixed_forecast

__all__ = ["FAMILIES", "HISTORY", "HORIZON", "OU", "Family", "Oscillators", "Panel", "Truth"]

HISTORY, HORIZON = 5.0, 2.5
SHAPE, SCALE = 2.0, 0.15  # of the gaps
GRID = np.linspace(2.0, 6.0, 121)  # of frequencies


class Panel(NamedTuple):
    """Times (n), values (n c) with NaN where nothing was seen, of each series."""

    times: list[np.ndarray]
    values: list[np.ndarray]

    def frame(self) -> pd.DataFrame:
        parts = []
        for k, (times, values) in enumerate(zip(self.times, self.values)):
            columns = {f"y{c}": values[:, c] for c in range(values.shape[1])}
            parts.append(pd.DataFrame({"unique_id": f"s{k:05d}", "ds": times, **columns}))
        return pd.concat(parts, ignore_index=True)


class Truth(NamedTuple):
    """Of each seen value after the history: place of its series, lead, channel, value, and the optimum's mean."""

    series: np.ndarray
    lead: np.ndarray
    channel: np.ndarray
    value: np.ndarray
    best: np.ndarray


class Family(ABC):
    """Oscillators (two channels) or Ornstein-Uhlenbeck processes (one), exactly simulated and filtered."""

    n_channels: int

    def simulate(self, n: int, generator: np.random.Generator) -> Panel:
        times, values = [], []
        for _ in range(n):
            t = np.cumsum(generator.gamma(SHAPE, SCALE, 80))
            t = t[t < HISTORY + HORIZON]
            times.append(t)
            values.append(self.path(t, generator))
        return Panel(times, values)

    @abstractmethod
    def path(self, times: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Values (n c) of one series, NaN where nothing is seen."""

    def best(self, panel: Panel) -> Truth:
        """The optimum's forecasts, all from the end of the history."""
        rows: list[tuple[np.ndarray, ...]] = []
        for k, (times, values) in enumerate(zip(panel.times, panel.values)):
            n = int(np.searchsorted(times, HISTORY, side="right"))
            mean = self.forecast(times[:n], values[:n], times[n:])
            at, channel = np.nonzero(~np.isnan(values[n:]))
            lead = times[n:][at] - HISTORY
            rows.append((np.full(len(at), k), lead, channel, values[n:][at, channel], mean[at, channel]))
        return Truth(*map(np.concatenate, zip(*rows)))

    @abstractmethod
    def forecast(self, times: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """Means (m c) of one who knows the law."""


class OU(Family):
    n_channels = 1
    speed, sigma, mean, noise = 0.7, 1.3, 2.0, 0.3

    def path(self, times: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        sd = self.sigma / np.sqrt(2.0 * self.speed)
        x, out = sd * generator.standard_normal(), np.empty((len(times), 1))
        for k, gap in enumerate(np.diff(times, prepend=times[0])):
            decay = np.exp(-self.speed * gap)
            x = decay * x + sd * np.sqrt(1.0 - decay**2) * generator.standard_normal()
            out[k] = self.mean + x + self.noise * generator.standard_normal()
        return out

    def forecast(self, times: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
        variance = self.sigma**2 / (2.0 * self.speed)
        x, p = 0.0, variance
        for gap, y in zip(np.diff(times, prepend=times[0]), values[:, 0]):
            decay = np.exp(-self.speed * gap)
            x, p = decay * x, decay**2 * p + variance * (1.0 - decay**2)
            gain = p / (p + self.noise**2)
            x, p = x + gain * (y - self.mean - x), (1.0 - gain) * p
        return self.mean + x * np.exp(-self.speed * (asked - times[-1]))[:, None]


class Oscillators(Family):
    n_channels = 2
    damping, sigma, noise, share = 0.25, 0.35, 0.2, 0.6

    def path(self, times: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return self.swing(generator.uniform(2.0, 6.0), self.damping, times, generator)

    def swing(self, frequency: float, damping: float, times: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Values (n 2) of a series with these rates."""
        sd = self.sigma / np.sqrt(2.0 * damping)
        x, out = sd * generator.standard_normal(2), np.empty((len(times), 2))
        for k, gap in enumerate(np.diff(times, prepend=times[0])):
            decay, c, s = np.exp(-damping * gap), np.cos(frequency * gap), np.sin(frequency * gap)
            turned = decay * np.array([c * x[0] + s * x[1], c * x[1] - s * x[0]])
            x = turned + sd * np.sqrt(1.0 - decay**2) * generator.standard_normal(2)
            out[k] = x + self.noise * generator.standard_normal(2)
        return np.where(generator.random(out.shape) < self.share, out, np.nan)

    def forecast(self, times: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
        return self.mix(GRID, np.full_like(GRID, self.damping), times, values, asked)

    def mix(
        self, frequency: np.ndarray, damping: np.ndarray, times: np.ndarray, values: np.ndarray, asked: np.ndarray
    ) -> np.ndarray:
        """Means (m 2) of one who knows that the rates are one of these pairs (g), each as likely."""

        def flow(gap: float) -> tuple[np.ndarray, np.ndarray]:
            decay, c, s = np.exp(-damping * gap), np.cos(frequency * gap), np.sin(frequency * gap)
            turn = np.stack([np.stack([c, s], axis=-1), np.stack([-s, c], axis=-1)], axis=1)
            return decay[:, None, None] * turn, 1.0 - decay**2

        variance = self.sigma**2 / (2.0 * damping)
        return mixed_forecast(flow, variance, np.zeros_like(damping), self.noise, times, values, asked)


FAMILIES: dict[str, Family] = {"OU": OU(), "oscillators": Oscillators()}

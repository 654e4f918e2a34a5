"""Simulated stars: sawtooths with periods of their own, seen in a few nights by channels one after another."""

from __future__ import annotations

import numpy as np

from tsode.core.series import Series

__all__ = ["night_times", "sawtooth", "stars"]


def night_times(generator: np.random.Generator, n_nights: int) -> np.ndarray:
    """Nights of a year, each with one visit within an hour and a half of midnight."""
    nights = np.sort(generator.choice(300, n_nights, replace=False))
    return nights + generator.uniform(-0.06, 0.06, n_nights)


def sawtooth(phase: np.ndarray) -> np.ndarray:
    """A fast rise and a slow fall, from -1 to 1, with five harmonics."""
    k = np.arange(1, 6)
    return (np.sin(2.0 * np.pi * phase[..., None] * k) / k).sum(axis=-1) / 1.5


def stars(n_stars: int, n_nights: int, seed: int, noise: float = 0.05) -> tuple[list[Series], np.ndarray]:
    """Series of two channels, the second seen a minute after the first, and their periods (0.4 to 0.75 days)."""
    generator = np.random.default_rng(seed)
    series, periods = [], generator.uniform(0.4, 0.75, n_stars)
    for period in periods:
        first = night_times(generator, n_nights)
        times = np.sort(np.concatenate([first, first + 0.001]))
        values = np.full((len(times), 2), np.nan)
        shift, size, level = generator.uniform(), generator.uniform(0.7, 1.3), generator.normal(15.0, 1.0)
        curve = level + size * sawtooth(times / period + shift)
        values[::2, 0] = curve[::2]
        values[1::2, 1] = 0.5 * curve[1::2]
        series.append(Series(times, values + noise * generator.normal(size=values.shape)))
    return series, periods

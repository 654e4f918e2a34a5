"""Gains in likelihood by waves of given frequencies and their harmonics, against one red background."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsode.numerics.red_background import Background, Whitener, cholesky_with_ridge

__all__ = ["WaveGains"]

Array = NDArray[np.floating[Any]]  # float64
Turns = NDArray[np.complex128]

_MOST_COLUMNS = 1024  # that are whitened at a time


class WaveGains:
    """Gain of the first harmonic of each frequency, of the first two, and so on, over a trend and a background.

    Parameters
    ----------
    times, values : Array[n]
        The series.
    fixed : Array[n p]
        Columns of the model without the waves.
    background : Background
        What the waves are held against.
    """

    def __init__(self, times: Array, fixed: Array, values: Array, background: Background) -> None:
        self.times = times
        self.n_left = len(times) - fixed.shape[1]
        gaps = np.diff(times, prepend=times[0])
        self.whitener = Whitener(gaps, background.settings[None])
        base = self.whitener.whiten(np.column_stack([fixed, values]))[:, 0]
        self.trend = np.linalg.qr(base[:, :-1])[0]
        self.rest = base[:, -1] - self.trend @ (self.trend.T @ base[:, -1])

    def at(self, frequencies: Array, n_harmonics: int) -> Array:
        """Return half the fall of the deviance (nats) at frequencies, in turns per unit of time: Array[f k]."""

        def turns(start: int, stop: int) -> Turns:
            return np.exp(2j * np.pi * self.times[:, None] * frequencies[start:stop])

        return self._in_blocks(turns, len(frequencies), n_harmonics)

    def on_grid(self, lowest: float, step: float, count: int) -> Array:
        """Return the gains of single waves on an equidistant grid, by products of turns: Array[count]."""
        angles = 2j * np.pi * self.times[:, None]
        inner = np.exp(angles * step * np.arange(min(count, _MOST_COLUMNS // 2)))

        def turns(start: int, stop: int) -> Turns:
            return inner[:, : stop - start] * np.exp(angles * (lowest + start * step))

        return self._in_blocks(turns, count, 1)[:, 0]

    def _in_blocks(self, turns: Callable[[int, int], Turns], count: int, n_harmonics: int) -> Array:
        size = max(1, _MOST_COLUMNS // (2 * n_harmonics))
        starts = range(0, count, size)
        return np.concatenate([self._of(turns(start, min(start + size, count)), n_harmonics) for start in starts])

    def _of(self, turns: Turns, n_harmonics: int) -> Array:
        n, n_waves, count = len(turns), 2 * n_harmonics, turns.shape[1]
        waves = np.empty((n, n_waves, count))
        wave = turns
        for k in range(n_harmonics):
            waves[:, 2 * k], waves[:, 2 * k + 1] = wave.real, wave.imag
            wave = wave * turns if k + 1 < n_harmonics else wave
        white = self.whitener.whiten(waves.reshape(n, -1))[:, 0]
        along = (self.trend.T @ white).reshape(-1, n_waves, count)
        cross = (self.rest @ white).reshape(n_waves, count)
        white = white.reshape(waves.shape)
        gram = np.empty((count, n_waves + 1, n_waves + 1))
        for i in range(n_waves):
            for j in range(i + 1):
                entry = np.einsum("nf,nf->f", white[:, i], white[:, j])
                entry -= np.einsum("pf,pf->f", along[:, i], along[:, j])
                gram[:, i, j] = gram[:, j, i] = entry
        gram[:, -1, :-1] = gram[:, :-1, -1] = cross.T
        total = gram[:, -1, -1] = self.rest @ self.rest
        # The last row of the factor is what each wave adds to those before it.
        added = cholesky_with_ridge(gram)[:, -1, :-1] ** 2
        share = added.reshape(count, n_harmonics, 2).sum(axis=2).cumsum(axis=1) / total
        return -0.5 * self.n_left * np.log1p(-np.clip(share, 0.0, 1 - 1e-15))

"""Observations of one series for folding: channel after channel, in units of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["Observations"]


@dataclass(frozen=True)
class Observations:
    """Values of one series, channel after channel, at times in spans of the series since its first event.

    Parameters
    ----------
    times : array[n]
        From 0 to 1, in order within a channel.
    values : array[n]
        In units of `scale` about `centre`.
    present : array[k], int
        Channels that have values, in order.
    starts : array[k], int
        Where each of them begins.
    centre, scale : array[k]
        Median of each, and its robust spread.
    """

    times: np.ndarray
    values: np.ndarray
    present: np.ndarray
    starts: np.ndarray
    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, times: np.ndarray, values: np.ndarray) -> Observations:
        """Those of `values` (n c), NaN = not seen, at `times` (n) in spans."""
        channels, rows = np.nonzero(np.isfinite(values).T)
        present, starts = np.unique(channels, return_index=True)
        parts = np.split(values[rows, channels], starts[1:])
        centre = np.array([np.median(part) for part in parts])
        scale = np.array([_spread(part - middle) for part, middle in zip(parts, centre, strict=True)])
        scaled = [(part - middle) / unit for part, middle, unit in zip(parts, centre, scale, strict=True)]
        return cls(times[rows], np.concatenate(scaled), present, starts, centre, scale)

    @cached_property
    def counts(self) -> np.ndarray:
        """Number of values of each channel: array[k]."""
        return np.diff(self.starts, append=len(self.times))

    def sum(self, x: np.ndarray) -> np.ndarray:
        """Sums over the values of each channel, along the last axis: (... n) -> (... k)."""
        return np.add.reduceat(x, self.starts, axis=-1)

    def spread(self, x: np.ndarray) -> np.ndarray:
        """The number of each channel at all of its values: (... k) -> (... n)."""
        return np.repeat(x, self.counts, axis=-1)


def _spread(deviations: np.ndarray) -> float:
    size = np.abs(deviations)
    return float(1.4826 * np.median(size) or size.mean() or 1.0)

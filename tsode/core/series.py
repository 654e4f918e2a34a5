"""Series in model time and model units, and their padding into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from tsode.core.batch import IrregularBatch
from tsode.core.covariates import Covariates, SeriesCovariates

__all__ = ["ROWS_AT_ONCE", "Series", "collate"]

ROWS_AT_ONCE = 256
"""Series in one batch outside training: bounds memory, changes no number."""


@dataclass(frozen=True)
class Series:
    """One series in model time and model units.

    Parameters
    ----------
    times : array[n], float64, increasing
    values : array[n c]
        NaN = not observed.
    input_times : array[k], float64, not decreasing
    inputs : array[k e]
        At known times.
    covariates : SeriesCovariates or None
        Constants, covariates known ahead and cycles of the calendar.
    n_rates : int
        Columns of `inputs`, the last ones, that are changes of a rate which is held until the next.
    """

    times: np.ndarray
    values: np.ndarray
    input_times: np.ndarray = field(default_factory=lambda: np.empty(0))
    inputs: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    covariates: SeriesCovariates | None = None
    n_rates: int = 0

    def part(self, rows: slice, inputs: slice = slice(None)) -> Series:
        """Some of the observations and of the inputs."""
        input_times, given = self.input_times, self.inputs
        if len(input_times):
            input_times, given = input_times[inputs], given[inputs]
        return Series(self.times[rows], self.values[rows], input_times, given, self.covariates, self.n_rates)

    def begun_before(self, time: float) -> np.ndarray:
        """The rates that are held at `time`, as an input: array[1 e], or array[0 e] where nothing runs."""
        changes = self.inputs[: np.searchsorted(self.input_times, time)].copy()
        changes[:, : changes.shape[1] - self.n_rates] = 0.0
        held = changes.sum(axis=0, keepdims=True)
        # what has ended leaves no more than rounding
        held[np.abs(held) <= 1e-9 * np.abs(changes).sum(axis=0)] = 0.0
        return held[held.any(axis=1)]

    @property
    def span(self) -> float:
        return float(self.times[-1] - self.times[0]) if len(self.times) else 0.0

    def active_clock(self, longest: float) -> np.ndarray:
        """Time since the first event with gaps counted up to `longest`: long silences hold nothing to learn from."""
        return np.concatenate([[0.0], np.minimum(np.diff(self.times), longest).cumsum()])


def collate(series: Sequence[Series], dtype: torch.dtype = torch.float32) -> IrregularBatch:
    """Pad series into one batch, with inputs as events of their own; an observation at the same time comes first."""
    with_covariates = [row.covariates for row in series if row.covariates is not None]
    covariates = Covariates.stack(with_covariates, dtype) if with_covariates else None
    if not series or not series[0].inputs.shape[1]:
        times, values = [row.times for row in series], [row.values for row in series]
        return IrregularBatch.from_arrays(times, values, dtype, covariates=covariates)
    times, values, inputs = [], [], []
    for row in series:
        joined = np.concatenate([row.times, row.input_times])
        order = np.argsort(joined, kind="stable")
        n, k = len(row.times), len(row.input_times)
        times.append(joined[order])
        values.append(np.concatenate([row.values, np.full((k, row.values.shape[1]), np.nan)])[order])
        inputs.append(np.concatenate([np.zeros((n, row.inputs.shape[1])), row.inputs])[order])
    return IrregularBatch.from_arrays(times, values, dtype, inputs, covariates)

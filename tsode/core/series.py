"""Series in model time and model units, and their padding into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

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
        What is put in at known times.
    covariates : SeriesCovariates or None
        What is known at any time.
    """

    times: np.ndarray
    values: np.ndarray
    input_times: np.ndarray = field(default_factory=lambda: np.empty(0))
    inputs: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    covariates: SeriesCovariates | None = None

    def part(self, rows: slice, inputs: slice = slice(None)) -> Series:
        """Some of the observations, and of what is put in."""
        return replace(
            self,
            times=self.times[rows],
            values=self.values[rows],
            input_times=self.input_times[inputs],
            inputs=self.inputs[inputs],
        )

    @property
    def span(self) -> float:
        return float(self.times[-1] - self.times[0]) if len(self.times) else 0.0

    def active_clock(self, longest: float) -> np.ndarray:
        """Time since the first event with gaps counted up to `longest`: long silences hold nothing to learn from."""
        return np.concatenate([[0.0], np.minimum(np.diff(self.times), longest).cumsum()])


def collate(series: Sequence[Series], dtype: torch.dtype = torch.float32) -> IrregularBatch:
    """Pad series into one batch, with what is put in as events of their own; an observation at one time comes first."""
    known = [one.covariates for one in series if one.covariates is not None]
    covariates = Covariates.stack(known, dtype) if known else None
    if not series or not series[0].inputs.shape[1]:
        times, values = [one.times for one in series], [one.values for one in series]
        return IrregularBatch.from_arrays(times, values, dtype, covariates=covariates)
    times, values, inputs = [], [], []
    for one in series:
        joined = np.concatenate([one.times, one.input_times])
        order = np.argsort(joined, kind="stable")
        n, k = len(one.times), len(one.input_times)
        times.append(joined[order])
        values.append(np.concatenate([one.values, np.full((k, one.values.shape[1]), np.nan)])[order])
        inputs.append(np.concatenate([np.zeros((n, one.inputs.shape[1])), one.inputs])[order])
    return IrregularBatch.from_arrays(times, values, dtype, inputs, covariates)

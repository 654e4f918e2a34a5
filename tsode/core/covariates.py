"""Covariates, known at any time, ahead too: constants, paths along time, and cycles of the calendar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["HARMONICS", "CovariatePath", "Covariates", "SeriesCovariates"]

HARMONICS = (1, 2)  # of each cycle


@dataclass(frozen=True, eq=False)
class CovariatePath:
    """Covariates along time, with their moving averages: ``dw/dt = (u(t) - w) / tau`` for several ``tau``.

    Between knots ``u`` is a straight line or a constant; before the first and after the last it stands still. Then the
    averages are known in closed form: over a segment on which ``u = v + s (t - t_k)``::

        w(t) = u(t) - s tau + (w_k - v + s tau) exp(-(t - t_k) / tau)

    Before the first knot ``w = u``. A knot on a straight line changes nothing.

    Parameters
    ----------
    times : array[k], float64, increasing
    values : array[k p]
    slopes : array[k p]
        Of the segment after each knot; of the last, 0.
    averages : array[k p j]
        At each knot.
    time_constants : tuple of j floats
    """

    times: np.ndarray
    values: np.ndarray
    slopes: np.ndarray
    averages: np.ndarray
    time_constants: tuple[float, ...]

    @classmethod
    def linear(cls, times: np.ndarray, values: np.ndarray, time_constants: Sequence[float]) -> CovariatePath:
        """Straight lines between the values (k p) at `times`; NaN is passed over."""
        filled = np.stack([_fill_linear(times, column) for column in values.T], axis=1) if values.size else values
        slopes = np.diff(filled, axis=0) / np.diff(times)[:, None]
        return cls._solve(times, filled, np.concatenate([slopes, np.zeros((1, filled.shape[1]))]), time_constants)

    @classmethod
    def last_value(cls, times: np.ndarray, values: np.ndarray, time_constants: Sequence[float]) -> CovariatePath:
        """Each value (k p) holds from its time up to the next one's; where it is NaN, the one before holds."""
        filled = np.stack([_fill_last(column) for column in values.T], axis=1) if values.size else values
        return cls._solve(times, filled, np.zeros_like(filled), time_constants)

    @classmethod
    def through(
        cls, times: np.ndarray, values: np.ndarray, time_constants: Sequence[float], holds: np.ndarray
    ) -> CovariatePath:
        """The columns (p) of `values` that hold as in `last_value`, the others as in `linear`."""
        if holds.all() or not holds.any():
            return (cls.last_value if holds.all() else cls.linear)(times, values, time_constants)
        lines, steps = cls.linear(times, values, time_constants), cls.last_value(times, values, time_constants)
        return cls(
            times,
            np.where(holds, steps.values, lines.values),
            np.where(holds, steps.slopes, lines.slopes),
            np.where(holds[:, None], steps.averages, lines.averages),
            lines.time_constants,
        )

    @classmethod
    def nothing(cls) -> CovariatePath:
        """No covariate."""
        return cls(np.zeros(1), np.zeros((1, 0)), np.zeros((1, 0)), np.zeros((1, 0, 0)), ())

    @classmethod
    def _solve(
        cls, times: np.ndarray, values: np.ndarray, slopes: np.ndarray, time_constants: Sequence[float]
    ) -> CovariatePath:
        tau = np.array(time_constants, dtype=np.float64)
        gap = np.diff(times)[:, None, None]
        v, s = values[:-1, :, None], slopes[:-1, :, None]
        # w_(k+1) = decay_k w_k + shift_k, all at once: ranges of 1, 2, 4, ... steps are joined
        decay = np.broadcast_to(np.exp(-gap / tau), (len(gap), values.shape[1], len(tau))).copy()
        shift = v + s * gap - s * tau - decay * (v - s * tau)
        decay = np.concatenate([np.zeros((1, *decay.shape[1:])), decay])
        shift = np.concatenate([np.repeat(values[:1, :, None], len(tau), axis=2), shift])
        step = 1
        while step < len(shift):
            shift[step:] += decay[step:] * shift[:-step].copy()
            decay[step:] *= decay[:-step].copy()
            step *= 2
        return cls(times, values, slopes, shift, tuple(map(float, tau)))

    def between(self, start: float, end: float) -> CovariatePath:
        """The same path with only the knots that matter from `start` to `end`."""
        first = max(int(np.searchsorted(self.times, start, side="right")) - 1, 0)
        until = max(int(np.searchsorted(self.times, end, side="right")), first + 1)
        kept = slice(first, until)
        return CovariatePath(
            self.times[kept], self.values[kept], self.slopes[kept], self.averages[kept], self.time_constants
        )


@dataclass(frozen=True, eq=False)
class SeriesCovariates:
    """Covariates of one series, in model units.

    Parameters
    ----------
    static : array[s]
        Constants.
    path : CovariatePath
    cycles : array[q 2]
        Turns per unit of time of each cycle of the calendar, and where it stands at time 0, in turns.
    """

    static: np.ndarray
    path: CovariatePath
    cycles: np.ndarray

    def between(self, start: float, end: float) -> SeriesCovariates:
        """The covariates with only what is needed from `start` to `end`."""
        return SeriesCovariates(self.static, self.path.between(start, end), self.cycles)


@dataclass(frozen=True)
class Covariates:
    """Covariates of each row of a batch; `at` gives the features that a model reads.

    Parameters
    ----------
    static : Tensor[b s]
    times : Tensor[b k], float64
        Knots; padding stands at infinity.
    values, slopes : Tensor[b k p], float64
    averages : Tensor[b k p j], float64
    time_constants : Tensor[j], float64
    cycles : Tensor[b q 2], float64
        See `SeriesCovariates`.
    """

    static: Tensor
    times: Tensor
    values: Tensor
    slopes: Tensor
    averages: Tensor
    time_constants: Tensor
    cycles: Tensor

    @classmethod
    def stack(cls, rows: Sequence[SeriesCovariates], dtype: torch.dtype = torch.float32) -> Covariates:
        """Pad the covariates of several series into one batch, whose features are of `dtype`."""
        width, first = max(len(row.path.times) for row in rows), rows[0].path
        times = np.full((len(rows), width), np.inf)
        values, slopes = (np.zeros((len(rows), width, first.values.shape[1])) for _ in range(2))
        averages = np.zeros((len(rows), width, *first.averages.shape[1:]))
        for place, row in enumerate(rows):
            n = len(row.path.times)
            times[place, :n], values[place, :n] = row.path.times, row.path.values
            slopes[place, :n], averages[place, :n] = row.path.slopes, row.path.averages
        return cls(
            static=torch.as_tensor(np.stack([row.static for row in rows]), dtype=dtype),
            times=torch.from_numpy(times),
            values=torch.from_numpy(values),
            slopes=torch.from_numpy(slopes),
            averages=torch.from_numpy(averages),
            time_constants=torch.tensor(first.time_constants, dtype=torch.float64),
            cycles=torch.from_numpy(np.stack([row.cycles for row in rows])),
        )

    def at(self, times: Tensor) -> Tensor:
        """Features at any times (b m): constants, covariates, their averages, and sines and cosines: Tensor[b m f]."""
        b, m = times.shape
        parts = []
        if self.values.shape[2]:
            knot = (torch.searchsorted(self.times.contiguous(), times.contiguous(), right=True) - 1).clamp(min=0)
            row = torch.arange(b, device=times.device)[:, None]
            elapsed = (times - self.times[row, knot]).clamp(min=0.0)[..., None]
            value, slope = self.values[row, knot], self.slopes[row, knot]
            now = value + slope * elapsed
            lag = slope[..., None] * self.time_constants
            departure = self.averages[row, knot] - value[..., None] + lag
            decay = torch.exp(-elapsed / self.time_constants)[:, :, None]
            parts = [now, (now[..., None] - lag + departure * decay).flatten(2)]
        if self.cycles.shape[1]:
            turns = torch.addcmul(self.cycles[:, None, :, 1], times[..., None], self.cycles[:, None, :, 0])
            angle = (2.0 * math.pi * turns.frac())[..., None] * turns.new_tensor(HARMONICS)
            parts += [angle.sin().flatten(2), angle.cos().flatten(2)]
        static = self.static[:, None].expand(b, m, -1)
        return torch.cat([static, *(part.to(static.dtype) for part in parts)], dim=2)

    def select(self, rows: Tensor) -> Covariates:
        """The covariates of the series at `rows`."""
        kept = {name: part if name == "time_constants" else part[rows] for name, part in vars(self).items()}
        return Covariates(**kept)

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> Covariates:
        """Move all tensors to `device`, and the features to `dtype`."""
        moved: dict[str, Any] = {name: part.to(device) for name, part in vars(self).items()}
        return Covariates(**moved | {"static": moved["static"].to(dtype)})


def _fill_linear(times: np.ndarray, column: np.ndarray) -> np.ndarray:
    seen = ~np.isnan(column)
    return np.interp(times, times[seen], column[seen])


def _fill_last(column: np.ndarray) -> np.ndarray:
    seen = np.flatnonzero(~np.isnan(column))
    latest = np.searchsorted(seen, np.arange(len(column)), side="right") - 1
    return column[seen[np.maximum(latest, 0)]]

"""Scaling of every channel to a common size, from seen values only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tsode.errors import DataError, ParameterError
from tsode.frames.panel import Panel

__all__ = ["ChannelScaler", "fit_scaler"]

# Quartiles of the standard normal are this far apart: a robust scale of normal data is their standard deviation.
_NORMAL_QUARTILES = 1.3489795003921634


@dataclass(frozen=True, eq=False)
class ChannelScaler:
    """``scaled = (values - shift) / scale``, one shift and one scale a channel.

    Parameters
    ----------
    shift, scale : array[c], float64
        In the units of the data.
    """

    shift: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, values: Sequence[np.ndarray], method: str | None = "standard") -> ChannelScaler:
        """Learn shift and scale from the seen values of all series together.

        Parameters
        ----------
        values : sequence of array[n c]
            NaN = not observed.
        method : {"standard", "robust", "none"} or None
            Mean and standard deviation; median and quartile range (the standard deviation where the quartiles are
            equal), for data with outliers; nothing. A constant channel is only shifted, one never seen is left alone.
        """
        if method not in ("standard", "robust", "none", None):
            raise ParameterError(f"scale={method!r} is not known: choose 'standard', 'robust' or 'none'.")
        pooled = np.concatenate(list(values))
        shift, scale = np.zeros(pooled.shape[1]), np.ones(pooled.shape[1])
        if method in ("none", None):
            return cls(shift, scale)
        for j, column in enumerate(pooled.T):
            seen = column[~np.isnan(column)]
            if not len(seen):
                continue
            shift[j] = seen.mean() if method == "standard" else np.median(seen)
            # By the extremes: the rounded standard deviation of equal values need not be zero.
            if seen.min() == seen.max():
                shift[j] = seen[0]
                continue
            low, high = np.quantile(seen, [0.25, 0.75])
            is_robust = method == "robust" and high > low
            scale[j] = (high - low) / _NORMAL_QUARTILES if is_robust else seen.std()
        return cls(shift, scale)

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Scale values (..., c); NaN stays NaN."""
        return (values - self.shift) / self.scale

    def inverse(self, values: np.ndarray) -> np.ndarray:
        """Undo `transform`: values (..., c) in the units of the data."""
        return values * self.scale + self.shift

    def slopes(self, values: np.ndarray) -> np.ndarray:
        """Derivative of `transform` at each of the values (..., c); NaN where they are."""
        return np.where(np.isnan(values), np.nan, 1.0 / self.scale)

    def log_slopes(self, series: Sequence[np.ndarray]) -> np.ndarray:
        """Sum over all that was seen of each series (n c) of the logarithm of the slope of `transform`: array[b]."""
        counts = np.array([np.count_nonzero(~np.isnan(values), axis=0) for values in series], dtype=np.float64)
        return -(counts.reshape(-1, len(self.scale)) @ np.log(self.scale))

    def check(self, panel: Panel) -> None:
        """Look for values that no forecast could follow; there are none where channels may have any."""

    def to_dict(self) -> dict[str, Any]:
        """Shift and scale, ready for JSON."""
        return {"shift": self.shift.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> ChannelScaler:
        """Undo `to_dict`."""
        return cls(np.asarray(state["shift"], dtype=np.float64), np.asarray(state["scale"], dtype=np.float64))


def fit_scaler(panel: Panel, method: str) -> ChannelScaler:
    """Scaler of the channels of `panel`.

    Raises
    ------
    DataError
        If a channel has no finite scale.
    """
    with np.errstate(all="ignore"):
        scaler = ChannelScaler.fit(panel.values, method)
        is_usable = np.isfinite(scaler.shift) & np.isfinite(scaler.scale) & np.isfinite(1.0 / scaler.scale)
    for name, usable in zip(panel.channels, is_usable):
        if not usable:
            raise DataError(
                f"The values of {name!r} are too large or too close together for float64 to take their standard "
                "deviation: bring the channel to another unit, or mend the values that stand out."
            )
    return scaler

"""Ends of the scales of channels: bounds that many series reach, and none passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Ends", "find_ends"]

FEWEST_SERIES = 10  # of which an end may be found
FEWEST_AT_END = 3  # series that reach it and turn back
MISSED = 5.0  # series that would lie beyond an end if the tail went on: that none does has a chance below 1 %
ROUNDING = 1e-5  # of a channel's scale: what single precision and scaling make of a value at an end


class Ends(NamedTuple):
    """Least and greatest value that each channel's scale has.

    Parameters
    ----------
    low, high : array[c], float64
        In the units of the data; infinite where there is no such end.
    """

    low: np.ndarray
    high: np.ndarray

    def widened(self, latest: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ends (... c) for series whose latest values (... c) may have passed them; NaN = there is none.

        Parameters
        ----------
        latest : array[... c]
        scale : array[c]
            Of the channels, in the units of the data.
        """
        slack = ROUNDING * scale
        with np.errstate(invalid="ignore"):
            low = np.where(latest < self.low - slack, latest, self.low)
            high = np.where(latest > self.high + slack, latest, self.high)
        return low, high

    def to_dict(self) -> dict[str, Any]:
        """Ends ready for JSON, which has no infinity."""
        return {name: [x if np.isfinite(x) else None for x in getattr(self, name).tolist()] for name in self._fields}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Ends:
        """Undo `to_dict`."""
        low, high = ([none if x is None else x for x in state[name]] for name, none in cls._none().items())
        return cls(np.array(low, dtype=np.float64), np.array(high, dtype=np.float64))

    @staticmethod
    def _none() -> dict[str, float]:
        return {"low": -np.inf, "high": np.inf}


def find_ends(series: Sequence[np.ndarray]) -> Ends | None:
    """Ends of each channel's scale, by the series (n c) that reach them; None where no channel has any.

    The least value of a channel is an end of its scale if three or more series of ten or more hold exactly this value
    and another one later, and if a tail that goes on would show beyond it: of the series that hold the next value, as
    many as hold the least one would have gone on by the same share, which makes five or more. So zeros of counts and
    the 3 and 15 of a score are ends; a record, the least of rounded values, or how far a common trend has come by the
    last observation are not. A value that a channel has always had is both ends.
    """
    n_channels = series[0].shape[1]
    columns = [[x[~np.isnan(x[:, c]), c] for x in series] for c in range(n_channels)]
    low = np.array([_least(column, -np.inf) for column in columns])
    high = np.array([-_least([-x for x in column], -np.inf) for column in columns])
    return Ends(low, high) if np.isfinite(np.concatenate([low, high])).any() else None


def _least(columns: Sequence[np.ndarray], none: float) -> float:
    """Least value of a channel where it is an end, else `none`."""
    columns = [x for x in columns if len(x)]
    if len(columns) < FEWEST_SERIES:
        return none
    least = min(float(x.min()) for x in columns)
    higher = [x[x > least] for x in columns]
    following = min((float(x.min()) for x in higher if len(x)), default=np.inf)
    if np.isinf(following):
        n_at_end, n_next = sum(len(x) > 1 for x in columns), 0
    else:
        n_at_end = sum(_turns_back(x, least) for x in columns)
        n_next = sum(bool((x == following).any()) for x in columns)
    return least if n_at_end >= FEWEST_AT_END and n_at_end**2 >= MISSED * n_next else none


def _turns_back(x: np.ndarray, least: float) -> bool:
    """Whether a series holds its least value, and later another one."""
    places = np.flatnonzero(x == least)
    return len(places) > 0 and bool((x[places[0] :] != least).any())

"""Ends of the scales of channels: bounds that many series reach and none passes, and records of very many series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Ends", "find_ends"]

FEWEST_SERIES = 10  # of which an end may be found
FEWEST_AT_END = 3  # series that reach it and turn back
MISSED = 5.0  # series that would lie beyond an end if the tail went on: that none does has a chance below 1 %
FEWEST_ALIKE = (
    100  # series that had been as far out, and of which none passed a record: the next one does one time in 101
)
ROUNDING = 1e-5  # of a channel's scale: what single precision and scaling make of a value at an end


class Ends(NamedTuple):
    """Least and greatest value that forecasts of each channel go to.

    Parameters
    ----------
    low, high : array[c], float64
        In the units of the data; infinite where there is no such end.
    low_from, high_from : array[c], float64
        Values from which on they hold, of series whose latest one is not farther out; infinite where for all.
    """

    low: np.ndarray
    high: np.ndarray
    low_from: np.ndarray
    high_from: np.ndarray

    def of(self, latest: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ends (... c) for series with these latest values (... c), which may have passed them; NaN = there is none.

        Parameters
        ----------
        latest : array[... c]
        scale : array[c]
            Of the channels, in the units of the data.
        """
        slack = ROUNDING * scale
        with np.errstate(invalid="ignore"):
            low = np.where(latest < self.low_from, -np.inf, self.low)
            high = np.where(latest > self.high_from, np.inf, self.high)
            return np.where(latest < low - slack, latest, low), np.where(latest > high + slack, latest, high)

    def to_dict(self) -> dict[str, Any]:
        """Ends ready for JSON, which has no infinity."""
        return {name: [x if np.isfinite(x) else None for x in getattr(self, name).tolist()] for name in self._fields}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Ends:
        """Undo `to_dict`."""
        none = {name: -np.inf if name.startswith("low") else np.inf for name in cls._fields}
        parts = ([none[name] if x is None else x for x in state[name]] for name in cls._fields)
        return cls(*(np.array(part, dtype=np.float64) for part in parts))


def find_ends(
    series: Sequence[np.ndarray], times: Sequence[np.ndarray] = (), horizon: float | None = None
) -> Ends | None:
    """Ends of each channel's scale, by the series (n c) that reach them; None where no channel has any.

    The least value of a channel is an end of its scale if three or more series of ten or more hold exactly this value
    and another one later, and if a tail that goes on would show beyond it: of the series that hold the next value, as
    many as hold the least one would have gone on by the same share, which makes five or more. So zeros of counts and
    the 3 and 15 of a score are ends; a record, the least of rounded values, or how far a common trend has come by the
    last observation are not. A value that a channel has always had is both ends.

    With a `horizon` records of very many series hold too, though not for all: of a hundred series that had been as far
    out as the latest value of another, and were followed for a horizon, none has passed the record, so that it is
    passed by that one too with a chance of 1 %. Series that have come farther may go on, and so do those of a trend:
    where they have come to, none had been a horizon before.

    Parameters
    ----------
    series : sequence of array[n c]
        NaN = not observed.
    times : sequence of array[n]
        Of their rows; only for records.
    horizon : float or None
        In the unit of the times. None: records are not looked at.
    """
    n_channels = series[0].shape[1]
    found = np.full((4, n_channels), [[-np.inf], [np.inf], [-np.inf], [np.inf]])
    for c in range(n_channels):
        columns = [x[~np.isnan(x[:, c]), c] for x in series]
        settled = []  # what was followed for a horizon
        if horizon is not None:
            seen = [t[~np.isnan(x[:, c])] for t, x in zip(times, series)]
            settled = [x[t <= t[-1] - horizon] for t, x in zip(seen, columns) if len(t)]
        found[0, c], found[2, c] = _least(columns, settled)
        found[1, c], found[3, c] = -np.array(_least([-x for x in columns], [-x for x in settled]))
    return Ends(*found) if np.isfinite(found[:2]).any() else None


def _least(columns: Sequence[np.ndarray], settled: Sequence[np.ndarray]) -> tuple[float, float]:
    """Least value of a channel where forecasts go no farther, and the latest value from which on; else infinite."""
    if _is_end(columns):
        return min(float(x.min()) for x in columns if len(x)), -np.inf
    deepest = np.sort([x.min() for x in settled if len(x)])
    if len(deepest) < FEWEST_ALIKE:
        return -np.inf, -np.inf
    return min(float(x.min()) for x in columns if len(x)), float(deepest[FEWEST_ALIKE - 1])


def _is_end(columns: Sequence[np.ndarray]) -> bool:
    """Whether the least value of a channel is an end of its scale."""
    columns = [x for x in columns if len(x)]
    if len(columns) < FEWEST_SERIES:
        return False
    least = min(float(x.min()) for x in columns)
    higher = [x[x > least] for x in columns]
    following = min((float(x.min()) for x in higher if len(x)), default=np.inf)
    if np.isinf(following):
        n_at_end, n_next = sum(len(x) > 1 for x in columns), 0
    else:
        n_at_end = sum(_turns_back(x, least) for x in columns)
        n_next = sum(bool((x == following).any()) for x in columns)
    return n_at_end >= FEWEST_AT_END and n_at_end**2 >= MISSED * n_next


def _turns_back(x: np.ndarray, least: float) -> bool:
    """Whether a series holds its least value, and later another one."""
    places = np.flatnonzero(x == least)
    return len(places) > 0 and bool((x[places[0] :] != least).any())

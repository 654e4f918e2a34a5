"""Outlier that makes up most of a channel's variance, so that a scale by the standard deviation says nothing."""

from __future__ import annotations

import warnings

import numpy as np

from tsode.errors import TsodeWarning
from tsode.frames.index import restore_times
from tsode.frames.panel import Panel

__all__ = ["warn_of_outliers"]

FEWEST = 10  # values of a channel; of fewer, one is a large share of any variance
MOST = 0.5  # share of the sum of squares about the mean
FAR = 20.0  # quartile ranges from the median, which a few skewed values do not reach


def warn_of_outliers(panel: Panel, can_rescale: bool) -> None:
    """Warn of each channel in which one value makes up most of the variance of all, by series and time.

    A channel whose quartiles are equal may well rest but for one event, and is left alone.

    Parameters
    ----------
    panel : Panel
    can_rescale : bool
        Whether there is a parameter ``scale``.
    """
    for c, channel in enumerate(panel.channels):
        pooled = np.concatenate([values[:, c] for values in panel.values])
        seen = pooled[~np.isnan(pooled)]
        if len(seen) < FEWEST:
            continue
        low, median, high = np.quantile(seen, [0.25, 0.5, 0.75])
        if low == high:
            continue
        with np.errstate(all="ignore"):
            squared = ((pooled - seen.mean()) / np.ptp(seen)) ** 2
        at = int(np.nanargmax(squared))
        is_far = abs(pooled[at] / FAR - median / FAR) > high - low
        if not is_far or squared[at] <= MOST * np.nansum(squared):
            continue
        ends = np.cumsum([len(times) for times in panel.times])
        row = int(np.searchsorted(ends, at, side="right"))
        number = at - int(ends[row]) + len(panel.times[row])
        time = restore_times(panel.times[row][number : number + 1], panel.layout.time_dtype)[0]
        whose = f" of series {panel.ids[row]!r}" if panel.layout.has_ids else ""
        warnings.warn(
            f"The value {pooled[at]:.6g} of {channel!r}{whose} at {time} makes up most of the variance of that channel "
            f"in all series. If it is a mistake, mend it or set it to NaN{_ELSE if can_rescale else '.'}",
            TsodeWarning,
            stacklevel=5,
        )


_ELSE = "; if it is not, set scale='robust', so that it does not set the scale of all others."

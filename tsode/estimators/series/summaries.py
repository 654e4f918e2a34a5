"""Summaries of irregular series: plain numbers, to stand beside a learned state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tsode.core.series import Series

__all__ = ["SUMMARIES", "profile", "summarise"]

SUMMARIES = ("last", "mean", "deviation", "slope", "roughness", "crossings", "count")


def summarise(series: Sequence[Series]) -> np.ndarray:
    """Seven numbers for each channel of each series: array[b 7c].

    Last value, mean, standard deviation, least-squares slope, root mean square of changes from one observation to the
    next, crossings of the mean per unit of time (of a wave, twice its frequency; Rice 1944), and the logarithm of one
    plus the number of observations. Zeros where too little was seen, which is the mean
    in scaled units.
    """
    return np.array(
        [np.concatenate([_summarise(*_seen(row, c)) for c in range(row.values.shape[1])]) for row in series]
    )


def profile(series: Sequence[Series], grid: np.ndarray, starts: Sequence[float]) -> np.ndarray:
    """Values of each channel at `grid` (g,) after the start of each series, between its observations: array[b gc].

    Linear in between; the first and last value hold outside. Zeros where nothing was seen.
    """
    rows = []
    for row, start in zip(series, starts):
        channels = [_seen(row, c) for c in range(row.values.shape[1])]
        rows.append([np.interp(grid + start, t, x) if len(t) else np.zeros(len(grid)) for t, x in channels])
    return np.array(rows).reshape(len(rows), -1)


def _seen(series: Series, channel: int) -> tuple[np.ndarray, np.ndarray]:
    values = series.values[:, channel]
    is_seen = ~np.isnan(values)
    return series.times[is_seen], values[is_seen]


def _summarise(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    out = np.zeros(len(SUMMARIES))
    if len(times):
        lag = times - times.mean()
        spread = float((lag**2).sum())
        slope = float((lag * values).sum()) / spread if spread > 0.0 else 0.0
        changes = np.diff(values)
        roughness = float(np.sqrt(np.mean(changes**2))) if len(changes) else 0.0
        is_above = values > values.mean()
        crossings = float((is_above[1:] != is_above[:-1]).sum()) / (times[-1] - times[0]) if len(changes) else 0.0
        out[:] = values[-1], values.mean(), values.std(), slope, roughness, crossings, np.log1p(len(times))
    return out

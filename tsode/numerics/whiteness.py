"""Portmanteau test of white noise at uneven times."""

from __future__ import annotations

import numpy as np
import scipy.stats
from numpy.typing import NDArray

__all__ = ["portmanteau"]

MOST_LAGS = 10
ROWS_A_LAG = 5
FEWEST_PAIRS = 10


def portmanteau(
    times: NDArray[np.float64], errors: NDArray[np.float64], series: NDArray[np.int64] | None = None
) -> float:
    """Chance that white noise is as correlated in time as these errors, by the time between them.

    Pairs of errors are sorted by the whole number of median gaps that they are apart, those that are closer with those
    one gap apart. In white noise the sums of products in each class are uncorrelated, however uneven the times, so the
    sum of their squares is about chi-squared; on a regular grid it is the test of Ljung and Box (1978).

    Parameters
    ----------
    times : array[n]
        In order within each series; they may repeat.
    errors : array[n]
        Of mean zero and one spread.
    series : array[n], int, optional
        Number of the series of each, one series after the other. Pairs are of one series; they are counted together.

    Returns
    -------
    float
        NaN for fewer than ten errors, or where too few of them are close enough.
    """
    n = len(errors)
    series = np.zeros(n, dtype=np.int64) if series is None else series
    apart = np.diff(times)[np.diff(series) == 0]
    if n < 2 * ROWS_A_LAG or not (apart > 0.0).any():
        return float("nan")
    gap, most = np.median(apart[apart > 0.0]), min(MOST_LAGS, n // ROWS_A_LAG)
    sums, counts = np.zeros(most + 1), np.zeros(most + 1)
    for k in range(1, n):
        lag = np.maximum(np.rint((times[k:] - times[:-k]) / gap), 1.0)
        near = (lag <= most) & (series[k:] == series[:-k])
        if not near.any():
            break
        which = lag[near].astype(np.int64)
        sums += np.bincount(which, (errors[k:] * errors[:-k])[near], most + 1)
        counts += np.bincount(which, minlength=most + 1)
    used = counts >= FEWEST_PAIRS
    if not used.any():
        return float("nan")
    # the squares are over their exact mean for normal errors, of which the spread is estimated
    squares = (n + 2.0) / n * sums[used] ** 2 / (counts[used] * np.mean(errors**2) ** 2)
    return float(scipy.stats.chi2.sf(squares.sum(), used.sum()))

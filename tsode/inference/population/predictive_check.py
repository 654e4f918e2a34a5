"""Visual predictive check: quantiles of values in bins of time, beside those of simulated data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tsode.errors import ParameterError

__all__ = ["BinnedQuantiles", "Checked", "bin_edges", "correct", "predictive_check", "quantiles"]

FEWEST = 5  # values of a bin


class BinnedQuantiles(NamedTuple):
    """What a bin has observed and simulated.

    Parameters
    ----------
    observed : array[m]
    simulated : array[n m]
        One of each data set.
    """

    observed: np.ndarray
    simulated: np.ndarray


@dataclass(frozen=True)
class Checked:
    """A bin of a channel, from `low` to `high`.

    Parameters
    ----------
    low, high : float
    places : array[k], int64
        Its values.
    quantiles : BinnedQuantiles
        At the levels.
    below, above : BinnedQuantiles or None
        Share of values beyond a limit, where there is one.
    """

    low: float
    high: float
    places: np.ndarray
    quantiles: BinnedQuantiles
    below: BinnedQuantiles | None
    above: BinnedQuantiles | None


def bin_edges(times: np.ndarray, n_series: int, bins: int | str | Sequence[float]) -> np.ndarray:
    """Edges (m + 1,) of bins, each from its edge up to the next; the last holds its end.

    A number asks for so many bins of equally many values, fewer where many values have one time; "auto" for as many as
    a series has values in the middle, of `FEWEST` values or more.

    Parameters
    ----------
    times : array[k]
    n_series : int
    bins : int, "auto", or increasing edges
    """
    if not isinstance(bins, str | int | np.integer):
        edges = np.asarray(bins, dtype=np.float64)
        if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
            raise ParameterError(f"bins= takes increasing edges, two or more, but has {bins!r}.")
        return edges
    if isinstance(bins, str):
        if bins != "auto":
            raise ParameterError(f"bins={bins!r} is not known: choose 'auto', a number, or edges.")
        bins = int(np.clip(round(len(times) / max(n_series, 1)), 1, max(1, len(times) // FEWEST)))
    if isinstance(bins, bool) or bins < 1:
        raise ParameterError(f"bins={bins!r} must be at least 1.")
    ranked = np.sort(times)
    starts = np.unique(ranked[(np.arange(bins) * len(ranked)) // bins])
    # halfway to the time before, so that an edge is no time of the data
    before = ranked[np.maximum(np.searchsorted(ranked, starts) - 1, 0)]
    inner = 0.5 * (starts + before)[1:]
    width = max(ranked[-1] - ranked[0], 1.0) * 1e-9
    return np.concatenate([[ranked[0]], inner, [max(ranked[-1], ranked[0] + width)]])


def correct(values: np.ndarray, predicted: np.ndarray, is_ratio: bool) -> np.ndarray:
    """Values (... k) of a bin as if all had the bin's median prediction, by the ratio of predictions or the difference.

    References
    ----------
    Bergstrand, Hooker, Wallin and Karlsson, "Prediction-corrected visual predictive checks for diagnosing nonlinear
    mixed-effects models", AAPS J. 13, 2011.
    """
    middle = np.median(predicted)
    return values * (middle / predicted) if is_ratio else values + (middle - predicted)


def quantiles(values: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Quantiles (... m) along the last axis, linear between ranks (type 7 of Hyndman and Fan); values may be infinite.

    Between a finite and an infinite value the quantile is infinite.
    """
    ranked = np.sort(values, axis=-1)
    place = np.asarray(levels, dtype=np.float64) * (values.shape[-1] - 1)
    low = np.floor(place).astype(int)
    share = place - low
    a, b = ranked[..., low], ranked[..., np.minimum(low + 1, values.shape[-1] - 1)]
    with np.errstate(invalid="ignore"):
        between = np.where(share > 0, a + share * (b - a), a)
    return np.where(np.isinf(a) | (np.isinf(b) & (share > 0)), np.where(np.isinf(a), a, b), between)


def predictive_check(
    times: np.ndarray, observed: np.ndarray, simulated: np.ndarray, predicted: np.ndarray, edges: np.ndarray,
    levels: Sequence[float], below: float | None = None, above: float | None = None, correction: str | None = None,
) -> list[Checked]:  # fmt: skip
    """Quantiles of one channel in bins of time.

    Values beyond a limit of quantification, observed or simulated, rank below or above all others, corrected or not; a
    quantile that lies among them is infinite.

    Parameters
    ----------
    times, observed, predicted : array[k]
    simulated : array[n k]
    edges : array[m + 1]
    levels : sequence of float
    below, above : float, optional
        Limits of quantification.
    correction : {"ratio", "difference"}, optional
        By which predictions act.
    """
    found = []
    last = len(edges) - 2
    bin_of = np.searchsorted(edges, times, side="right") - 1
    bin_of[times == edges[-1]] = last
    for j in range(last + 1):
        places = np.flatnonzero(bin_of == j)
        if not len(places):
            continue
        both = np.concatenate([observed[None, places], simulated[:, places]])
        shown = both if correction is None else correct(both, predicted[places], correction == "ratio")
        shares: list[BinnedQuantiles | None] = []
        for limit, end in ((below, -np.inf), (above, np.inf)):
            if limit is None:
                shares.append(None)
                continue
            is_beyond = both <= limit if end < 0 else both >= limit
            shown = np.where(is_beyond, end, shown)
            share = is_beyond.mean(axis=1, keepdims=True)
            shares.append(BinnedQuantiles(share[0], share[1:]))
        at = quantiles(shown, levels)
        found.append(Checked(edges[j], edges[j + 1], places, BinnedQuantiles(at[0], at[1:]), *shares))
    return found

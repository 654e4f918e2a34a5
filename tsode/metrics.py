"""Scores of point and probabilistic forecasts; entries without a truth are left out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tsode.errors import ParameterError

__all__ = [
    "BrierParts",
    "brier_decomposition",
    "brier_score",
    "coverage",
    "crps_from_quantiles",
    "crps_from_samples",
    "energy_score",
    "integrated_brier_score",
    "interval_score",
    "mae",
    "mse",
    "pinball",
    "rmse",
]


def _paired(truth: np.ndarray, forecast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, forecast = np.asarray(truth, dtype=float), np.asarray(forecast, dtype=float)
    seen = ~np.isnan(truth)
    return truth[seen], forecast[seen]


def mse(truth: np.ndarray, forecast: np.ndarray) -> float:
    """Mean squared error over the entries whose truth is not NaN."""
    truth, forecast = _paired(truth, forecast)
    return float(np.mean((truth - forecast) ** 2))


def rmse(truth: np.ndarray, forecast: np.ndarray) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt(mse(truth, forecast)))


def mae(truth: np.ndarray, forecast: np.ndarray) -> float:
    """Mean absolute error."""
    truth, forecast = _paired(truth, forecast)
    return float(np.mean(np.abs(truth - forecast)))


def coverage(truth: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Share of truths inside ``[low, high]``."""
    truth, low, high = (np.asarray(a, dtype=float) for a in (truth, low, high))
    seen = ~np.isnan(truth)
    return float(np.mean((truth[seen] >= low[seen]) & (truth[seen] <= high[seen])))


def crps_from_quantiles(truth: np.ndarray, quantiles: np.ndarray, levels: np.ndarray) -> float:
    """Continuous ranked probability score from quantiles: twice the mean pinball loss.

    Parameters
    ----------
    truth : array[...]
    quantiles : array[... q]
    levels : array[q]
        Evenly spaced in (0, 1); 99 of them are exact to about one per cent.
    """
    truth = np.asarray(truth, dtype=float)
    seen = ~np.isnan(truth)
    error = truth[seen][..., None] - np.asarray(quantiles, dtype=float)[seen]
    return float(2.0 * np.mean(np.maximum(levels * error, (levels - 1.0) * error)))


def pinball(truth: np.ndarray, quantile: np.ndarray, level: float) -> float:
    """Mean pinball (quantile) loss of the forecast quantile at `level`, in (0, 1) (Koenker & Bassett 1978)."""
    truth, quantile = _paired(truth, quantile)
    error = truth - quantile
    return float(np.mean(np.maximum(level * error, (level - 1.0) * error)))


def interval_score(truth: np.ndarray, low: np.ndarray, high: np.ndarray, level: float) -> float:
    """Mean interval (Winkler) score: width, plus what a miss costs (Gneiting & Raftery 2007, eq. 43).

    Parameters
    ----------
    truth, low, high : array[...]
    level : float
        Per cent that the central intervals should hold, as in ``predict_interval``.
    """
    truth, low, high = (np.asarray(a, dtype=float) for a in (truth, low, high))
    seen = ~np.isnan(truth)
    truth, low, high = truth[seen], low[seen], high[seen]
    miss = np.maximum(low - truth, 0.0) + np.maximum(truth - high, 0.0)
    return float(np.mean(high - low + 2.0 / (1.0 - level / 100.0) * miss))


def crps_from_samples(truth: np.ndarray, samples: np.ndarray, estimator: str = "fair") -> float:
    """Continuous ranked probability score from samples, ``E|X - x| - E|X - X'| / 2``.

    Parameters
    ----------
    truth : array[...]
    samples : array[... s]
    estimator : {"fair", "empirical"}
        "fair" is unbiased for the law that the samples are drawn from, and needs two of them; "empirical" is the score
        of the samples themselves (Zamo & Naveau 2018, eq. eFAIR and NRG).
    """
    truth = np.asarray(truth, dtype=float)
    seen = ~np.isnan(truth)
    x = np.sort(np.asarray(samples, dtype=float)[seen], axis=-1)
    s = x.shape[-1]
    # of all pairs: sorted, the i-th is the larger one of i and the smaller one of s - 1 - i
    spread = (x * (2.0 * np.arange(s) - (s - 1.0))).sum(axis=-1)
    near = np.abs(x - truth[seen][..., None]).mean(axis=-1)
    return float(np.mean(near - spread / (s * _others(s, estimator))))


def energy_score(truth: np.ndarray, samples: np.ndarray, estimator: str = "fair") -> float:
    """Energy score of joint samples, ``E||X - x|| - E||X - X'|| / 2`` (Gneiting & Raftery 2007, eq. 22).

    The norm is over the channels that were seen; rows in which none was are left out.

    Parameters
    ----------
    truth : array[n c]
    samples : array[n s c]
    estimator : {"fair", "empirical"}
        See `crps_from_samples`.
    """
    truth = np.asarray(truth, dtype=float)
    seen = ~np.isnan(truth)
    rows = seen.any(axis=-1)
    truth, seen = truth[rows], seen[rows]
    x = np.where(seen[:, None], np.asarray(samples, dtype=float)[rows], 0.0)
    near = np.linalg.norm(x - np.where(seen, truth, 0.0)[:, None], axis=-1).mean(axis=-1)
    s = x.shape[1]
    # a sample at a time against all others: memory grows with s, not with its square
    spread = sum(np.linalg.norm(x - x[:, i : i + 1], axis=-1).sum(axis=-1) for i in range(s))
    return float(np.mean(near - 0.5 * spread / (s * _others(s, estimator))))


class BrierParts(NamedTuple):
    """Parts of a Brier score: ``reliability - resolution + uncertainty`` is the score.

    Parameters
    ----------
    reliability : float
        Mean squared distance of the probabilities from the rates at which it happened where they were said; 0 is best.
    resolution : float
        Mean squared distance of these rates from that of all; more is better.
    uncertainty : float
        Variance of what happened.
    """

    reliability: float
    resolution: float
    uncertainty: float


def brier_score(happened: np.ndarray, probability: np.ndarray) -> float:
    """Mean squared distance of probabilities from what happened (Brier 1950, for an event and its opposite).

    Parameters
    ----------
    happened : array[...]
        1 or True where it did, 0 where it did not; NaN = not known.
    probability : array[...]

    Examples
    --------
    >>> brier_score([1, 0], [0.75, 0.5])
    0.15625
    """
    return float(np.mean((np.subtract(*_of_events(happened, probability))) ** 2))


def brier_decomposition(happened: np.ndarray, probability: np.ndarray, n_bins: int | None = None) -> BrierParts:
    """Split a Brier score into reliability, resolution and uncertainty (Murphy 1973).

    Parameters
    ----------
    happened, probability : array[...]
        See `brier_score`.
    n_bins : int, optional
        Probabilities are first replaced by their means in so many bins of equal counts, and the parts add up to the
        score of these. The default is a bin for every value that was said: exact, and of use where few are. With
        ``k`` bins, chance gives perfect probabilities a reliability of about ``k mean(p (1 - p)) / n``.

    Returns
    -------
    BrierParts

    Examples
    --------
    >>> parts = brier_decomposition([1, 0, 1, 1], [0.5, 0.5, 0.75, 0.75])
    >>> float(parts.reliability), float(parts.resolution), float(parts.uncertainty)
    (0.03125, 0.0625, 0.1875)
    """
    truth, said = _of_events(happened, probability)
    if n_bins is None:
        bins = np.unique(said, return_inverse=True)[1]
    elif n_bins < 1:
        raise ParameterError(f"n_bins={n_bins} must be a whole number of at least 1.")
    else:
        bins = np.empty(len(said), dtype=int)
        bins[np.argsort(said, kind="stable")] = np.arange(len(said)) * n_bins // max(len(said), 1)
        bins = np.unique(bins, return_inverse=True)[1]  # fewer entries than bins leave some empty
    count = np.bincount(bins)
    rate, mean = np.bincount(bins, truth) / count, np.bincount(bins, said) / count
    share, base = count / len(said), truth.mean()
    return BrierParts(float(share @ (mean - rate) ** 2), float(share @ (rate - base) ** 2), float(base * (1.0 - base)))


def integrated_brier_score(
    event_times: np.ndarray, is_event: np.ndarray, times: np.ndarray, probability: np.ndarray
) -> float:
    """Brier score of the probability that something has happened by each time, integrated over these, with censoring.

    A series that is lost from sight before its event is left out from then on, and those still seen stand for it:
    each is weighted by one over the probability of still being seen (Kaplan & Meier's estimate over all series), at
    its event or, before it, at the time that is scored. A series that is lost at a time is still seen at that time, so
    that forecasts may be scored up to a horizon at which all are given up.

    Parameters
    ----------
    event_times : array[n]
        Time of each series' event or, without one, until which it was seen.
    is_event : array[n], bool
        Whether it is that of an event.
    times : array[m]
        Increasing; at least two, none after the last time until which a series was seen.
    probability : array[n m]
        That the event has happened by each time.

    Returns
    -------
    float
        The mean over time, by trapezoids.

    Raises
    ------
    ParameterError
        If `times` are too few, do not increase or go beyond what was seen.

    References
    ----------
    Graf, Schmoor, Sauerbrei and Schumacher, "Assessment and comparison of prognostic classification schemes for
    survival data", Statistics in Medicine 18, 1999.

    Examples
    --------
    >>> probability = np.array([[0.0, 1.0, 1.0], [0.0, 0.5, 0.5]])
    >>> integrated_brier_score([1.0, 2.0], [True, False], [0.0, 1.0, 2.0], probability)
    0.09375
    """
    end, times = np.asarray(event_times, dtype=float), np.asarray(times, dtype=float)
    happens, said = np.asarray(is_event, dtype=bool), np.asarray(probability, dtype=float)
    if len(times) < 2 or (np.diff(times) <= 0).any():
        raise ParameterError("times must increase and be at least two: give the times of the forecast, sorted.")
    if times[-1] > end.max():
        raise ParameterError(
            f"times go up to {times[-1]:g}, but no series was seen after {end.max():g}: score until then."
        )
    steps, at = np.unique(end, return_inverse=True)
    n_lost = np.bincount(at, ~happens)
    n_events = np.bincount(at, happens)
    # of those at risk of being lost: whose event comes at that time has had it first
    at_risk = len(end) - np.cumsum(n_events) - np.cumsum(n_lost) + n_lost
    seen = np.concatenate([[1.0], np.cumprod(1.0 - n_lost / np.maximum(at_risk, 1.0))])  # just before each step
    at_event, at_time = (seen[np.searchsorted(steps, t, side="left")] for t in (end, times))
    has_happened = happens[:, None] & (end[:, None] <= times)
    is_waiting = (end[:, None] > times) | (~happens[:, None] & (end[:, None] == times))
    gone = np.divide((1.0 - said) ** 2, at_event[:, None], out=np.zeros_like(said), where=has_happened)
    still = np.divide(said**2, at_time, out=np.zeros_like(said), where=is_waiting)
    score = (gone + still).mean(axis=0)
    return float(np.sum(0.5 * (score[1:] + score[:-1]) * np.diff(times)) / (times[-1] - times[0]))


def _of_events(happened: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, said = _paired(happened, probability)
    if not len(truth):
        raise ParameterError("There is nothing to score: no entry of `happened` is known.")
    if not np.isin(truth, (0.0, 1.0)).all():
        raise ParameterError("`happened` must be 0 or 1 (False or True) at each entry, or NaN where it is not known.")
    return truth, said


def _others(n_samples: int, estimator: str) -> int:
    """By how many the differences from one sample are averaged."""
    if estimator not in ("fair", "empirical"):
        raise ParameterError(f"estimator={estimator!r} is not known: choose 'fair' or 'empirical'.")
    if estimator == "fair" and n_samples < 2:
        raise ParameterError("The fair estimator needs two samples: draw more, or choose estimator='empirical'.")
    return n_samples - 1 if estimator == "fair" else n_samples

"""Scores of point and probabilistic forecasts; entries without a truth are left out."""

from __future__ import annotations

import numpy as np

from tsode.errors import ParameterError

__all__ = [
    "coverage",
    "crps_from_quantiles",
    "crps_from_samples",
    "energy_score",
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


def _others(n_samples: int, estimator: str) -> int:
    """By how many the differences from one sample are averaged."""
    if estimator not in ("fair", "empirical"):
        raise ParameterError(f"estimator={estimator!r} is not known: choose 'fair' or 'empirical'.")
    if estimator == "fair" and n_samples < 2:
        raise ParameterError("The fair estimator needs two samples: draw more, or choose estimator='empirical'.")
    return n_samples - 1 if estimator == "fair" else n_samples

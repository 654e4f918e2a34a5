"""Scores of point and probabilistic forecasts; entries without a truth are left out."""

from __future__ import annotations

import numpy as np

__all__ = ["coverage", "crps_from_quantiles", "mae", "mse", "rmse"]


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

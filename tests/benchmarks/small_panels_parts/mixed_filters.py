"""Kalman filters of a grid of laws at once, mixed by what they make of a history: the optimum of an unknown law."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["mixed_forecast"]


def mixed_forecast(
    flow: Callable[[float], tuple[np.ndarray, np.ndarray]],
    variance: np.ndarray,
    level: np.ndarray,
    noise: float,
    times: np.ndarray,
    values: np.ndarray,
    asked: np.ndarray,
) -> np.ndarray:
    """Means (m c) at the times `asked` (m) of channels that are the states about a level, seen through noise.

    Parameters
    ----------
    flow : gap -> array[g c c], array[g]
        What a state turns into over a gap, and the share of its variance that is new by then.
    variance, level : array[g]
        Of the stationary law of every channel. All laws are as likely before anything is seen.
    noise : float
        Standard deviation.
    times, values : array[n], array[n c]
        The history; NaN where nothing was seen.
    """
    n_laws, n_channels = len(variance), values.shape[1]
    mean, log_weight = np.zeros((n_laws, n_channels)), np.zeros(n_laws)
    cov = variance[:, None, None] * np.eye(n_channels)
    for gap, y in zip(np.diff(times, prepend=times[0]), values):
        turn, new = flow(gap)
        mean = (turn @ mean[..., None])[..., 0]
        cov = turn @ cov @ turn.swapaxes(1, 2) + (variance * new)[:, None, None] * np.eye(n_channels)
        for c in np.flatnonzero(~np.isnan(y)):
            spread, error = cov[:, c, c] + noise**2, y[c] - level - mean[:, c]
            log_weight -= 0.5 * (np.log(spread) + error**2 / spread)
            gain = cov[:, :, c] / spread[:, None]
            mean = mean + gain * error[:, None]
            cov = cov - gain[..., None] * cov[:, None, c]
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    ahead = [weight @ (level[:, None] + (flow(t - times[-1])[0] @ mean[..., None])[..., 0]) for t in asked]
    return np.array(ahead).reshape(-1, n_channels)

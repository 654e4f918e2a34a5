"""Kalman filter and smoother written for tests: dense matrices, one series."""

from __future__ import annotations

import numpy as np
from scipy.linalg import expm


def transition(a, b, q, gap):
    """Transition matrix, shift and noise covariance of ``dx = (A x + b) dt + noise``, by exponentials of blocks."""
    d = len(b)
    block = np.zeros((2 * d, 2 * d))
    block[:d, :d], block[:d, d:], block[d:, d:] = -a, q, a.T
    whole = expm(block * gap)
    phi = whole[d:, d:].T
    forced = np.zeros((d + 1, d + 1))
    forced[:d, :d], forced[:d, d] = a, b
    return phi, expm(forced * gap)[:d, d], phi @ whole[:d, d:]


def kalman(a, b, q, mean, cov, times, values, readout, variance, start=0.0):
    """Log likelihood, and filtered and smoothed moments, of values (m c) at times (m,); NaN was not seen."""
    clock, total = start, 0.0
    predicted, known, steps = [], [], []
    for t, y in zip(times, values):
        phi, shift, noise = transition(a, b, q, t - clock)
        clock = t
        mean, cov = phi @ mean + shift, phi @ cov @ phi.T + noise
        predicted.append((mean, cov))
        steps.append(phi)
        seen = ~np.isnan(y)
        if seen.any():
            h = readout[seen]
            spread = h @ cov @ h.T + np.diag(variance[seen])
            error = y[seen] - h @ mean
            total -= 0.5 * (error @ np.linalg.solve(spread, error) + np.linalg.slogdet(2 * np.pi * spread)[1])
            gain = cov @ h.T @ np.linalg.inv(spread)
            mean, cov = mean + gain @ error, cov - gain @ spread @ gain.T
        known.append((mean, cov))
    smoothed = [known[-1]]
    for k in range(len(times) - 2, -1, -1):
        (m, p), (m_next, p_next), (m_all, p_all) = known[k], predicted[k + 1], smoothed[0]
        gain = p @ steps[k + 1].T @ np.linalg.inv(p_next)
        smoothed.insert(0, (m + gain @ (m_all - m_next), p + gain @ (p_all - p_next) @ gain.T))
    return total, known, smoothed

"""A linear-Gaussian SDE as one big Gaussian vector, built from its mean and covariance functions: an oracle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import expm
from scipy.stats import multivariate_normal

Array = np.ndarray


@dataclass(frozen=True)
class DenseGaussian:
    """``dx = (A x + b) dt + L dW`` from ``N(m0, P0)`` at `start`; ``y = H x + d + r * noise``."""

    drift: Array
    offset: Array
    diffusion: Array
    readout: Array
    readout_offset: Array
    noise: Array
    initial_mean: Array
    initial_cov: Array
    start: float

    def moments(self, t: float) -> tuple[Array, Array]:
        """Mean and covariance of x(t): the moment equations, one linear ODE in (mean, covariance, 1)."""
        n = len(self.drift)
        eye = np.eye(n)
        generator = np.zeros((n + n * n + 1, n + n * n + 1))
        generator[:n, :n], generator[:n, -1] = self.drift, self.offset
        generator[n:-1, n:-1] = np.kron(self.drift, eye) + np.kron(eye, self.drift)
        generator[n:-1, -1] = (self.diffusion @ self.diffusion.T).ravel()
        z = expm(generator * (t - self.start)) @ np.concatenate([self.initial_mean, self.initial_cov.ravel(), [1.0]])
        return z[:n], z[n:-1].reshape(n, n)

    def states(self, times: Array) -> tuple[Array, Array]:
        """Joint mean (m d) and covariance (m d m d) of the states: ``cov(x_s, x_t) = P_s exp(A (t - s))'``, s <= t."""
        m, n = len(times), len(self.drift)
        mean, cov = np.zeros((m, n)), np.zeros((m, n, m, n))
        for i, s in enumerate(times):
            mean[i], p = self.moments(s)
            for j, t in enumerate(times):
                if t >= s:
                    cov[i, :, j] = p @ expm(self.drift * (t - s)).T
                    cov[j, :, i] = cov[i, :, j].T
        return mean, cov

    def _condition(self, times: Array, values: Array, queries: Array) -> tuple[Array, ...]:
        n, m, d = len(times), len(queries), len(self.drift)
        mean, cov = self.states(np.concatenate([times, queries]))
        seen = ~np.isnan(values)
        readout = np.zeros((*values.shape, n + m, d))
        readout[np.arange(n), :, np.arange(n)] = self.readout
        h = readout[seen].reshape(seen.sum(), (n + m) * d)
        noise = np.broadcast_to(self.noise**2, values.shape)[seen]
        flat_mean, flat_cov = mean.ravel(), cov.reshape((n + m) * d, (n + m) * d)
        predicted = h @ flat_mean + np.broadcast_to(self.readout_offset, values.shape)[seen]
        return flat_mean, flat_cov, h, h @ flat_cov @ h.T + np.diag(noise), values[seen] - predicted

    def log_likelihood(self, times: Array, values: Array) -> float:
        _, _, _, s, error = self._condition(times, values, np.zeros(0))
        return multivariate_normal(np.zeros(len(error)), s).logpdf(error)

    def posterior(self, times: Array, values: Array, queries: Array) -> tuple[Array, Array]:
        """Joint mean (m d) and covariance (m d m d) of the states at `queries` given all `values` (NaN = unseen)."""
        m, d = len(queries), len(self.drift)
        mean, cov, h, s, error = self._condition(times, values, queries)
        gain = np.linalg.solve(s, h @ cov).T
        mean, cov = mean + gain @ error, cov - gain @ s @ gain.T
        k = len(times) * d
        return mean[k:].reshape(m, d), cov[k:, k:].reshape(m, d, m, d)

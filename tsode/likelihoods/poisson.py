"""Poisson likelihood."""

from __future__ import annotations

import numpy as np
import scipy.special
import scipy.stats
import torch
from torch import Tensor

from tsode.likelihoods.counts import Counts, log_geometric_tail
from tsode.likelihoods.tails import log_tail, through_scipy

__all__ = ["Poisson"]


class Poisson(Counts):
    """Poisson distribution with parameter ``(log mean,)``."""

    n_params = 1

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        return _log_mass(x, params[..., 0])

    def variance(self, params: Tensor) -> Tensor:
        return self.mean(params)

    def quantile(self, params: Tensor, p: Tensor) -> Tensor:
        """The smallest count whose distribution function reaches `p`; it has no gradient."""
        log_mean, p = torch.broadcast_tensors(params[..., 0], p.to(params))
        return through_scipy(lambda log_mean, p: scipy.stats.poisson.ppf(p, np.exp(log_mean)), log_mean, p).clamp(min=0)

    def crps(self, params: Tensor, x: Tensor) -> Tensor:
        """Closed form of Wei and Held 2014, by modified Bessel functions."""
        mean = self.mean(params)
        at = _log_mass(x.floor().clamp(min=0), params[..., 0]).exp() * (x >= 0)
        bessel = torch.special.i0e(2.0 * mean) + torch.special.i1e(2.0 * mean)
        return (x - mean) * (2.0 * self.cdf(params, x) - 1.0) + mean * (2.0 * at - bessel)

    def from_moments(self, mean: Tensor, scale: Tensor) -> Tensor:
        """With this mean; the mean is the variance too."""
        return mean.log()[..., None]

    def _log_below(self, k: Tensor, params: Tensor) -> Tensor:
        def value(log_mean: np.ndarray, k: np.ndarray) -> np.ndarray:
            mean = np.exp(log_mean)
            log_first = scipy.stats.poisson.logpmf(k, mean)
            return log_geometric_tail(scipy.special.gammaincc(k + 1.0, mean), log_first, k / mean)

        def slope(log_mean: Tensor, k: Tensor, log_probability: Tensor) -> Tensor:
            return -(_log_mass(k, log_mean) + log_mean - log_probability).exp()

        return log_tail(value, slope, params[..., 0], k)

    def _log_above(self, k: Tensor, params: Tensor) -> Tensor:
        def value(log_mean: np.ndarray, k: np.ndarray) -> np.ndarray:
            mean = np.exp(log_mean)
            log_first = scipy.stats.poisson.logpmf(k, mean)
            return log_geometric_tail(scipy.special.gammainc(k, mean), log_first, mean / (k + 1.0))

        def slope(log_mean: Tensor, k: Tensor, log_probability: Tensor) -> Tensor:
            return (_log_mass(k - 1.0, log_mean) + log_mean - log_probability).exp()

        return log_tail(value, slope, params[..., 0], k)


def _log_mass(k: Tensor, log_mean: Tensor) -> Tensor:
    return k * log_mean - log_mean.exp() - torch.lgamma(k + 1.0)

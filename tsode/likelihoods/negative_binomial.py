"""Negative binomial likelihood."""

from __future__ import annotations

import numpy as np
import scipy.special
import scipy.stats
import torch
from torch import Tensor

from tsode.likelihoods.counts import Counts, log_geometric_tail
from tsode.likelihoods.tails import log_tail, through_scipy

__all__ = ["NegativeBinomial"]


class NegativeBinomial(Counts):
    """Negative binomial distribution with parameters ``(log mean, log size)``; variance ``mean + mean ** 2 / size``.

    A large size is a Poisson distribution.
    """

    n_params = 2

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        return _log_mass(x, *params.unbind(-1))

    def variance(self, params: Tensor) -> Tensor:
        mean = self.mean(params)
        return mean + mean.square() * (-params[..., 1]).exp()

    def quantile(self, params: Tensor, p: Tensor) -> Tensor:
        """The smallest count whose distribution function reaches `p`; it has no gradient."""

        def value(log_mean: np.ndarray, log_size: np.ndarray, p: np.ndarray) -> np.ndarray:
            size, mean = np.exp(log_size), np.exp(log_mean)
            return scipy.stats.nbinom.ppf(p, size, size / (size + mean))  # type: ignore[no-any-return]

        return through_scipy(value, *torch.broadcast_tensors(*params.unbind(-1), p.to(params))).clamp(min=0)

    def crps(self, params: Tensor, x: Tensor) -> Tensor:
        """Closed form of Wei and Held 2014, by a hypergeometric function; it has no gradient."""

        def value(log_mean: np.ndarray, log_size: np.ndarray, x: np.ndarray) -> np.ndarray:
            size, mean = np.exp(log_size), np.exp(log_mean)
            p = size / (size + mean)
            at, behind = scipy.stats.nbinom.cdf(x, size, p), scipy.stats.nbinom.cdf(x - 1, size + 1, p)
            bessel = scipy.special.hyp2f1(size + 1, 0.5, 2, -4 * (1 - p) / p**2)
            return x * (2 * at - 1) - size * (1 - p) / p**2 * (p * (2 * behind - 1) + bessel)  # type: ignore[no-any-return]

        return through_scipy(value, *torch.broadcast_tensors(*params.unbind(-1), x.to(params)))

    def from_moments(self, mean: Tensor, scale: Tensor) -> Tensor:
        """With this mean and standard deviation, which must be more than that of a Poisson distribution."""
        return torch.stack([mean.log(), 2.0 * mean.log() - (scale.square() - mean).log()], dim=-1)

    def _log_below(self, k: Tensor, params: Tensor) -> Tensor:
        log_mean, log_size = params.unbind(-1)
        log_mean, log_size, k = torch.broadcast_tensors(log_mean, log_size, k)
        count = k.detach().cpu().double().numpy()

        def value(log_mean: np.ndarray, log_size: np.ndarray) -> np.ndarray:
            size, mean = np.exp(log_size), np.exp(log_mean)
            p = size / (size + mean)
            log_first = scipy.stats.nbinom.logpmf(count, size, p)
            ratio = count / np.maximum((count - 1.0 + size) * (1.0 - p), np.finfo(float).tiny)
            return log_geometric_tail(scipy.special.betainc(size, count + 1.0, p), log_first, ratio)

        def slope(log_mean: Tensor, log_size: Tensor, log_probability: Tensor) -> Tensor:
            return -_flow(k, log_mean, log_size, log_probability)

        return log_tail(value, slope, log_mean, log_size)

    def _log_above(self, k: Tensor, params: Tensor) -> Tensor:
        log_mean, log_size = params.unbind(-1)
        log_mean, log_size, k = torch.broadcast_tensors(log_mean, log_size, k)
        count = k.detach().cpu().double().numpy()

        def value(log_mean: np.ndarray, log_size: np.ndarray) -> np.ndarray:
            size, mean = np.exp(log_size), np.exp(log_mean)
            share = mean / (size + mean)
            log_first = scipy.stats.nbinom.logpmf(count, size, 1.0 - share)
            ratio = (count + size) / (count + 1.0) * share
            return log_geometric_tail(scipy.special.betainc(count, size, share), log_first, ratio)

        def slope(log_mean: Tensor, log_size: Tensor, log_probability: Tensor) -> Tensor:
            return _flow(k - 1.0, log_mean, log_size, log_probability)

        return log_tail(value, slope, log_mean, log_size)


def _log_mass(k: Tensor, log_mean: Tensor, log_size: Tensor) -> Tensor:
    size, log_total = log_size.exp(), torch.logaddexp(log_size, log_mean)
    # size * log(size / (size + mean)), which cancels where the size is large
    empty = -size * torch.log1p((log_mean - log_size).exp())
    return torch.lgamma(k + size) - torch.lgamma(size) - torch.lgamma(k + 1.0) + empty + k * (log_mean - log_total)


def _flow(k: Tensor, log_mean: Tensor, log_size: Tensor, log_probability: Tensor) -> Tensor:
    """What passes the border above ``k`` as the log of the mean grows, over the probability of a side."""
    size, log_total = log_size.exp(), torch.logaddexp(log_size, log_mean)
    return (_log_mass(k, log_mean, log_size) + (size + k).log() - log_total + log_mean - log_probability).exp()

"""Student-t likelihood whose degrees of freedom are a parameter."""

from __future__ import annotations

import math

import numpy as np
import scipy.special
import torch
from torch import Tensor

from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.quantiles import implicit_quantile
from tsode.likelihoods.tails import log_tail, through_scipy

__all__ = ["FreeStudentT"]


class FreeStudentT(Likelihood):
    """Student-t distribution with parameters ``(location, log scale, log degrees of freedom)``.

    `StudentT` has its four degrees of freedom fixed, and closed forms for all.
    """

    n_params = 3

    @staticmethod
    def _parts(params: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``u = (x - location) / scale``, log scale and log degrees of freedom."""
        location, log_scale, log_df = params.unbind(-1)
        return (x - location) * (-log_scale).exp(), log_scale, log_df

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        u, log_scale, log_df = self._parts(params, x)
        return _log_density(u, log_df) - log_scale

    def log_below(self, params: Tensor, x: Tensor) -> Tensor:
        u, _, log_df = self._parts(params, x)
        return log_tail(_log_cdf, _slope, u, log_df)

    def log_above(self, params: Tensor, x: Tensor) -> Tensor:
        u, _, log_df = self._parts(params, x)
        return log_tail(_log_cdf, _slope, -u, log_df)

    def cdf(self, params: Tensor, x: Tensor) -> Tensor:
        return self.log_below(params, x).exp()

    def quantile(self, params: Tensor, p: Tensor) -> Tensor:
        location, log_scale, log_df = params.unbind(-1)
        with torch.no_grad():
            log_df, p = torch.broadcast_tensors(log_df, p.to(params))
            unit = through_scipy(lambda log_df, p: scipy.special.stdtrit(np.exp(log_df), p), log_df, p)
            x = location + log_scale.exp() * unit
        return implicit_quantile(self, params, p, x)

    def mean(self, params: Tensor) -> Tensor:
        """The location, which is the mean above one degree of freedom and the median always."""
        return params[..., 0]

    def variance(self, params: Tensor) -> Tensor:
        """Infinite up to two degrees of freedom."""
        df = params[..., 2].exp()
        unit = torch.where(df > 2, df / torch.where(df > 2, df - 2, 1.0), torch.inf)
        return unit * (2.0 * params[..., 1]).exp()

    def crps(self, params: Tensor, x: Tensor) -> Tensor:
        """Closed form of Jordan, Krueger & Lerch 2019, appendix A; infinite up to one degree of freedom."""
        u, log_scale, log_df = self._parts(params, x)
        df = log_df.exp()
        rest = torch.where(df > 1, df - 1, 1.0)
        density = _log_density(u, log_df).exp()
        log_spread = 0.5 * log_df + _log_beta(rest + 0.5) - 2.0 * _log_beta(0.5 * df)
        below = log_tail(_log_cdf, _slope, u, log_df).exp()
        unit = u * (2.0 * below - 1.0) + 2.0 * (density * (df + u * u) - log_spread.exp()) / rest
        return torch.where(df > 1, log_scale.exp() * unit, torch.inf)

    def from_moments(self, mean: Tensor, scale: Tensor) -> Tensor:
        """Of four degrees of freedom."""
        return torch.stack([mean, scale.log() - 0.5 * math.log(2.0), torch.full_like(mean, math.log(4.0))], dim=-1)

    def rescale(self, params: Tensor, factor: Tensor) -> Tensor:
        return torch.stack([params[..., 0], params[..., 1] + factor.log(), params[..., 2]], dim=-1)

    def affine(self, params: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        parts = (shift + scale * params[..., 0], params[..., 1] + scale.log(), params[..., 2])
        return torch.stack(torch.broadcast_tensors(*parts), dim=-1)


def _log_beta(a: Tensor) -> Tensor:
    """Logarithm of the beta function at 1/2 and `a`."""
    return math.lgamma(0.5) + torch.lgamma(a) - torch.lgamma(a + 0.5)


def _log_density(u: Tensor, log_df: Tensor) -> Tensor:
    df = log_df.exp()
    return -0.5 * log_df - _log_beta(0.5 * df) - 0.5 * (df + 1.0) * torch.log1p(u * u / df)


def _log_cdf(u: np.ndarray, log_df: np.ndarray) -> np.ndarray:
    df = np.exp(log_df)
    far = scipy.special.stdtr(df, -np.abs(u))
    return np.where(u < 0, np.log(far), np.log1p(-far))


def _slope(u: Tensor, log_df: Tensor, log_cdf: Tensor) -> Tensor:
    return (_log_density(u, log_df) - log_cdf).exp()

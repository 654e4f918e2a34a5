"""Log-normal likelihood."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.normal import Normal

__all__ = ["LogNormal"]

_NORMAL = Normal()


class LogNormal(Likelihood):
    """Law of ``exp(Z)`` for a normal ``Z``, with parameters ``(mean of Z, log of the standard deviation of Z)``.

    It is a law of positive values, and moves by factors only: it stands beside the families of `LIKELIHOODS`, which
    networks may shift anywhere.
    """

    n_params = 2

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        log_x = x.log()
        return _NORMAL.log_prob(params, log_x) - log_x

    def cdf(self, params: Tensor, x: Tensor) -> Tensor:
        return torch.where(x > 0, _NORMAL.cdf(params, torch.where(x > 0, x, 1.0).log()), 0.0)

    def log_below(self, params: Tensor, x: Tensor) -> Tensor:
        return _NORMAL.log_below(params, x.log())

    def log_above(self, params: Tensor, x: Tensor) -> Tensor:
        return _NORMAL.log_above(params, x.log())

    def quantile(self, params: Tensor, p: Tensor) -> Tensor:
        return _NORMAL.quantile(params, p).exp()

    def mean(self, params: Tensor) -> Tensor:
        location, log_scale = params.unbind(-1)
        return (location + 0.5 * (2.0 * log_scale).exp()).exp()

    def variance(self, params: Tensor) -> Tensor:
        return self.mean(params).square() * torch.expm1((2.0 * params[..., 1]).exp())

    def crps(self, params: Tensor, x: Tensor) -> Tensor:
        """Closed form of Baran and Lerch 2015, for log-normal laws."""
        location, log_scale = params.unbind(-1)
        scale = log_scale.exp()
        u = (torch.where(x > 0, x, torch.finfo(x.dtype).tiny).log() - location) / scale
        mean, ndtr = self.mean(params), torch.special.ndtr
        spread = ndtr(u - scale) + ndtr(scale / math.sqrt(2.0)) - 1.0
        return x * (2.0 * ndtr(u) - 1.0) - 2.0 * mean * spread

    def from_moments(self, mean: Tensor, scale: Tensor) -> Tensor:
        variance = torch.log1p((scale / mean).square())
        return torch.stack([mean.log() - 0.5 * variance, 0.5 * variance.log()], dim=-1)

    def rescale(self, params: Tensor, factor: Tensor) -> Tensor:
        """The spread of the logarithm multiplied; the median stays."""
        return torch.stack([params[..., 0], params[..., 1] + factor.log()], dim=-1)

    def affine(self, params: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """Factors only: `shift` must be 0."""
        if (shift != 0).any():
            raise ParameterError("A log-normal law cannot be shifted: values are to be scaled by factors only.")
        return torch.stack([params[..., 0] + scale.log(), params[..., 1].expand_as(params[..., 0] + scale)], dim=-1)

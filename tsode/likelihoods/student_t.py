"""Student-t likelihood with four degrees of freedom."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsode.likelihoods.base import Likelihood

__all__ = ["StudentT"]


class StudentT(Likelihood):
    """Student-t distribution with four degrees of freedom and parameters ``(location, log scale)``.

    Four is where the heavy tail still has a variance and where the distribution function and the quantiles have a
    closed form (Shaw 2006, section 2.3), so that gradients flow through all of them.
    """

    n_params = 2

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        location, log_scale = params.unbind(-1)
        u = (x - location) * (-log_scale).exp()
        return math.log(3.0 / 8.0) - 2.5 * torch.log1p(0.25 * u * u) - log_scale

    def crps(self, params: Tensor, x: Tensor) -> Tensor:
        """Closed form of Jordan, Krueger & Lerch 2019, appendix A, for four degrees of freedom."""
        location, log_scale = params.unbind(-1)
        u = (x - location) * (-log_scale).exp()
        density = 0.375 * (1.0 + 0.25 * u * u) ** -2.5
        spread = (4.0 / 3.0) * (math.gamma(3.5) / math.gamma(4.0)) * (math.gamma(2.5) / math.gamma(2.0)) ** 2
        spread /= math.gamma(0.5)
        return log_scale.exp() * (u * (2.0 * _cdf(u) - 1.0) + (2.0 / 3.0) * density * (4.0 + u * u) - spread)

    def mean(self, params: Tensor) -> Tensor:
        return params[..., 0]

    def variance(self, params: Tensor) -> Tensor:
        return 2.0 * (2.0 * params[..., 1]).exp()

    def quantile(self, params: Tensor, p: Tensor) -> Tensor:
        root = (4.0 * p * (1.0 - p)).clamp(min=1e-30).sqrt()
        u = 2.0 * ((torch.acos(root.clamp(max=1.0)) / 3.0).cos() / root - 1.0).clamp(min=0.0).sqrt()
        return params[..., 0] + params[..., 1].exp() * u * torch.sign(p - 0.5)

    def cdf(self, params: Tensor, x: Tensor) -> Tensor:
        return _cdf((x - params[..., 0]) * (-params[..., 1]).exp())

    def from_moments(self, mean: Tensor, scale: Tensor) -> Tensor:
        return torch.stack([mean, scale.log() - 0.5 * math.log(2.0)], dim=-1)

    def rescale(self, params: Tensor, factor: Tensor) -> Tensor:
        return torch.stack([params[..., 0], params[..., 1] + factor.log()], dim=-1)

    def affine(self, params: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return torch.stack([shift + scale * params[..., 0], params[..., 1] + scale.log()], dim=-1)


def _cdf(u: Tensor) -> Tensor:
    sine = 0.5 * u / (1.0 + 0.25 * u * u).sqrt()
    return 0.5 + 0.25 * sine * (3.0 - sine * sine)

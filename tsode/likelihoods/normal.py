"""Normal likelihood."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsode.likelihoods.base import Likelihood

__all__ = ["Normal"]


class Normal(Likelihood):
    """Normal distribution with parameters ``(location, log scale)``."""

    n_params = 2

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        location, log_scale = params.unbind(-1)
        return -0.5 * ((x - location) * (-log_scale).exp()) ** 2 - log_scale - 0.5 * math.log(2.0 * math.pi)

    def crps(self, params: Tensor, x: Tensor) -> Tensor:
        """Closed form of Gneiting et al. 2005, equation 5."""
        location, log_scale = params.unbind(-1)
        scale = log_scale.exp()
        u = (x - location) / scale
        density = (-0.5 * u * u).exp() / math.sqrt(2.0 * math.pi)
        return scale * (u * torch.erf(u / math.sqrt(2.0)) + 2.0 * density - 1.0 / math.sqrt(math.pi))

    def mean(self, params: Tensor) -> Tensor:
        return params[..., 0]

    def variance(self, params: Tensor) -> Tensor:
        return (2.0 * params[..., 1]).exp()

    def quantile(self, params: Tensor, p: Tensor) -> Tensor:
        return params[..., 0] + params[..., 1].exp() * torch.special.ndtri(p)

    def cdf(self, params: Tensor, x: Tensor) -> Tensor:
        return torch.special.ndtr((x - params[..., 0]) * (-params[..., 1]).exp())

    def from_moments(self, mean: Tensor, scale: Tensor) -> Tensor:
        return torch.stack([mean, scale.log()], dim=-1)

    def rescale(self, params: Tensor, factor: Tensor) -> Tensor:
        return torch.stack([params[..., 0], params[..., 1] + factor.log()], dim=-1)

    def affine(self, params: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return torch.stack([shift + scale * params[..., 0], params[..., 1] + scale.log()], dim=-1)

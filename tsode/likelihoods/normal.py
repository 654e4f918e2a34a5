"""Normal likelihood."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsode.likelihoods.location_scale import LocationScale

__all__ = ["Normal"]


class Normal(LocationScale):
    """Normal distribution with parameters ``(location, log scale)``."""

    unit_variance = 1.0

    def unit_cdf(self, u: Tensor) -> Tensor:
        return torch.special.ndtr(u)

    def unit_log_cdf(self, u: Tensor) -> Tensor:
        return torch.special.log_ndtr(u)

    def unit_quantile(self, p: Tensor) -> Tensor:
        return torch.special.ndtri(p)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        u, log_scale = self.standardise(params, x)
        return -0.5 * u**2 - log_scale - 0.5 * math.log(2.0 * math.pi)

    def crps(self, params: Tensor, x: Tensor) -> Tensor:
        """Closed form of Gneiting et al. 2005, equation 5."""
        location, log_scale = params.unbind(-1)
        scale = log_scale.exp()
        u = (x - location) / scale
        density = (-0.5 * u * u).exp() / math.sqrt(2.0 * math.pi)
        return scale * (u * torch.erf(u / math.sqrt(2.0)) + 2.0 * density - 1.0 / math.sqrt(math.pi))

"""Laplace likelihood."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsode.likelihoods.location_scale import LocationScale

__all__ = ["Laplace"]


class Laplace(LocationScale):
    """Laplace distribution, with a peak and exponential tails, and parameters ``(location, log scale)``."""

    unit_variance = 2.0

    def unit_cdf(self, u: Tensor) -> Tensor:
        # each side of 0 by itself, so that the lower tail keeps its digits and the slope at 0 is the density
        return torch.where(u < 0, 0.5 * u.clamp(max=0.0).exp(), 1.0 - 0.5 * (-u.clamp(min=0.0)).exp())

    def unit_quantile(self, p: Tensor) -> Tensor:
        tail = torch.minimum(p, 1.0 - p)
        return torch.sign(0.5 - p) * (2.0 * tail).log()

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        u, log_scale = self.standardise(params, x)
        return -u.abs() - log_scale - math.log(2.0)

    def crps(self, params: Tensor, x: Tensor) -> Tensor:
        """Closed form of Jordan, Krueger & Lerch 2019, appendix A."""
        u, log_scale = self.standardise(params, x)
        return log_scale.exp() * (u.abs() + (-u.abs()).exp() - 0.75)

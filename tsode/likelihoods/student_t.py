"""Student-t likelihood with four degrees of freedom."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsode.likelihoods.location_scale import LocationScale

__all__ = ["StudentT"]


class StudentT(LocationScale):
    """Student-t distribution with four degrees of freedom and parameters ``(location, log scale)``.

    Four is where the heavy tail still has a variance and where the distribution function and the quantiles have a
    closed form (Shaw 2006, section 2.3), so that gradients flow through all of them.
    """

    unit_variance = 2.0

    def unit_cdf(self, u: Tensor) -> Tensor:
        sine = 0.5 * u / (1.0 + 0.25 * u * u).sqrt()
        return 0.5 + 0.25 * sine * (3.0 - sine * sine)

    def unit_quantile(self, p: Tensor) -> Tensor:
        root = (4.0 * p * (1.0 - p)).clamp(min=1e-30).sqrt()
        u = 2.0 * ((torch.acos(root.clamp(max=1.0)) / 3.0).cos() / root - 1.0).clamp(min=0.0).sqrt()
        return u * torch.sign(p - 0.5)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        u, log_scale = self.standardise(params, x)
        return math.log(3.0 / 8.0) - 2.5 * torch.log1p(0.25 * u * u) - log_scale

    def crps(self, params: Tensor, x: Tensor) -> Tensor:
        """Closed form of Jordan, Krueger & Lerch 2019, appendix A, for four degrees of freedom."""
        u, log_scale = self.standardise(params, x)
        density = 0.375 * (1.0 + 0.25 * u * u) ** -2.5
        spread = (4.0 / 3.0) * (math.gamma(3.5) / math.gamma(4.0)) * (math.gamma(2.5) / math.gamma(2.0)) ** 2
        spread /= math.gamma(0.5)
        below = self.unit_cdf(u)
        return log_scale.exp() * (u * (2.0 * below - 1.0) + (2.0 / 3.0) * density * (4.0 + u * u) - spread)

"""Location-scale likelihoods: one symmetric law, moved and stretched."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from tsode.likelihoods.base import Likelihood

__all__ = ["LocationScale"]


class LocationScale(Likelihood):
    """Family of ``location + scale * U`` with parameters ``(location, log scale)``, where ``U`` is symmetric about 0.

    A member gives the law of ``U`` by its variance, distribution and quantile function, and writes its density and
    CRPS with the help of `standardise`.

    Attributes
    ----------
    unit_variance : float
        Of ``U``.
    """

    n_params = 2
    unit_variance: float

    @abstractmethod
    def unit_cdf(self, u: Tensor) -> Tensor:
        """Distribution function of ``U``."""

    @abstractmethod
    def unit_quantile(self, p: Tensor) -> Tensor:
        """Quantile function of ``U``."""

    @staticmethod
    def standardise(params: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """``u = (x - location) / scale``, and the log scale: (...) each."""
        location, log_scale = params.unbind(-1)
        return (x - location) * (-log_scale).exp(), log_scale

    def mean(self, params: Tensor) -> Tensor:
        return params[..., 0]

    def variance(self, params: Tensor) -> Tensor:
        return self.unit_variance * (2.0 * params[..., 1]).exp()

    def quantile(self, params: Tensor, p: Tensor) -> Tensor:
        return params[..., 0] + params[..., 1].exp() * self.unit_quantile(p)

    def cdf(self, params: Tensor, x: Tensor) -> Tensor:
        return self.unit_cdf(self.standardise(params, x)[0])

    def unit_log_cdf(self, u: Tensor) -> Tensor:
        """Logarithm of the distribution function of ``U``."""
        return self.unit_cdf(u).log()

    def log_below(self, params: Tensor, x: Tensor) -> Tensor:
        return self.unit_log_cdf(self.standardise(params, x)[0])

    def log_above(self, params: Tensor, x: Tensor) -> Tensor:
        return self.unit_log_cdf(-self.standardise(params, x)[0])

    def from_moments(self, mean: Tensor, scale: Tensor) -> Tensor:
        return torch.stack([mean, scale.log() - 0.5 * math.log(self.unit_variance)], dim=-1)

    def rescale(self, params: Tensor, factor: Tensor) -> Tensor:
        return torch.stack([params[..., 0], params[..., 1] + factor.log()], dim=-1)

    def affine(self, params: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return torch.stack([shift + scale * params[..., 0], params[..., 1] + scale.log()], dim=-1)

"""Held knots: a law given by its quantiles, none of which lies beyond the ends of a support."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.quantile_knots import QuantileKnots

__all__ = ["HeldKnots"]


class HeldKnots(Likelihood):
    """Law of ``min(max(Y, low), high)`` where ``Y`` has `QuantileKnots`.

    Parameters are those of ``Y``, then low and high, which may be infinite. No quantile, and no mean, lies beyond the
    ends. Density, distribution function and CRPS are those of ``Y``, whose knots lie within: it differs in a tail
    beyond the outermost of them.

    Parameters
    ----------
    levels : sequence of float
        See `QuantileKnots`.
    """

    def __init__(self, levels: Sequence[float]) -> None:
        self.inner = QuantileKnots(levels)
        self.n_params, self.n_shape = self.inner.n_params + 2, self.inner.n_shape

    @classmethod
    def hold(cls, family: QuantileKnots, knots: Tensor, low: Tensor, high: Tensor) -> tuple[HeldKnots, Tensor]:
        """Law with quantiles (... k) at the levels of `family`, held between these ends (...), and its parameters."""
        knots = torch.minimum(torch.maximum(knots, low[..., None]), high[..., None])
        middle, span = knots[..., family.middle], knots[..., -1] - knots[..., 0]
        span = span.where(span > 0.0, torch.finfo(span.dtype).tiny ** 0.5)  # whatever the unit of the data
        unit = family.from_quantiles((knots - middle[..., None]) / span[..., None])
        inner = family.affine(unit, middle, span)
        return cls(family.levels), torch.cat([inner, _beside(low, inner), _beside(high, inner)], dim=-1)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        return self.inner.log_prob(params[..., :-2], x)

    def cdf(self, params: Tensor, x: Tensor) -> Tensor:
        return self.inner.cdf(params[..., :-2], x)

    def crps(self, params: Tensor, x: Tensor) -> Tensor:
        return self.inner.crps(params[..., :-2], x)

    def quantile(self, params: Tensor, p: Tensor) -> Tensor:
        return self._held(params, self.inner.quantile(params[..., :-2], p))

    def mean(self, params: Tensor) -> Tensor:
        return self._held(params, self.inner.mean(params[..., :-2]))

    def variance(self, params: Tensor) -> Tensor:
        return self.inner.variance(params[..., :-2])

    def compose(self, location: Tensor, log_scale: Tensor, shape: Tensor) -> Tensor:
        """Without ends, see `QuantileKnots.compose`."""
        return self._endless(self.inner.compose(location, log_scale, shape))

    def from_moments(self, mean: Tensor, scale: Tensor) -> Tensor:
        """Without ends, see `QuantileKnots.from_moments`."""
        return self._endless(self.inner.from_moments(mean, scale))

    def rescale(self, params: Tensor, factor: Tensor) -> Tensor:
        """Stretched about the median, between the same ends."""
        return torch.cat([self.inner.rescale(params[..., :-2], factor), params[..., -2:]], dim=-1)

    def affine(self, params: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """The ends move too."""
        ends = shift[..., None] + scale[..., None] * params[..., -2:]
        return torch.cat([self.inner.affine(params[..., :-2], shift, scale), ends], dim=-1)

    @staticmethod
    def _held(params: Tensor, x: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(x, params[..., -2]), params[..., -1])

    @staticmethod
    def _endless(inner: Tensor) -> Tensor:
        ends = inner.new_tensor([-torch.inf, torch.inf]).expand(*inner.shape[:-1], 2)
        return torch.cat([inner, ends], dim=-1)


def _beside(end: Tensor, params: Tensor) -> Tensor:
    return end.to(params).expand(params.shape[:-1])[..., None]

"""Censored mixture: a mixture of normals on a scale with ends, where what would lie beyond an end lies at it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.special import ndtr

from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.normal import Normal
from tsode.likelihoods.normal_mixture import NormalMixture

__all__ = ["CensoredMixture"]

FARTHEST = 40.0  # normal scores beyond which there is nothing in double precision
_AT_ONCE = 2**18  # numbers in a temporary of a score
UNLIKELY = 1e-4  # chance beyond the ends that no score can tell: it counts squared
# Levels between whose quantiles the integral of a score is added up.
TAIL = (1e-6, 1e-4, 1e-3, 0.01, 0.05, 0.15, 0.3)
LEVELS = (*TAIL, 0.5, *(1.0 - level for level in reversed(TAIL)))
NODES, WEIGHTS = np.polynomial.legendre.leggauss(8)


class CensoredMixture(Likelihood):
    """Law of ``min(max(Y, low), high)`` where ``Y`` is a mixture of normals.

    Parameters are those of ``Y``, then low and high, which may be infinite: then the law is that of ``Y``, to the bit.
    The ends are met exactly: no quantile, and no mean, lies beyond them. For a value between them no answer is worse
    than that of ``Y``. So `mean` is the mean of ``Y``, or the end that it has passed: what was learned of the mean
    holds where what was learned of a tail beyond one end alone would move it.

    `log_prob` is the density of ``Y``, at the ends and beyond them too. Ends are taken from data, so that a value
    beyond them may come, and none is to cost more than the law says that was learned.

    Parameters
    ----------
    inner : NormalMixture
        Family of ``Y``, with its models.
    """

    def __init__(self, inner: NormalMixture) -> None:
        self.inner = inner
        self.n_params, self.n_shape = inner.n_params + 2, inner.n_shape

    @classmethod
    def hold(cls, family: Likelihood, params: Tensor, low: Tensor, high: Tensor) -> tuple[CensoredMixture, Tensor]:
        """A law of normals (... p) held between these ends (...), and its parameters."""
        if isinstance(family, Normal):
            family, params = NormalMixture(1), torch.cat([params, torch.zeros_like(params[..., :1])], dim=-1)
        assert isinstance(family, NormalMixture)
        return cls(family), _with_ends(params, low.to(params), high.to(params))

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        return self.inner.log_prob(params[..., :-2], x)

    def cdf(self, params: Tensor, x: Tensor) -> Tensor:
        low, high = params[..., -2], params[..., -1]
        inside = self.inner.cdf(params[..., :-2], x)
        return torch.where(x < low, 0.0, torch.where(x >= high, 1.0, inside))

    def quantile(self, params: Tensor, p: Tensor) -> Tensor:
        return _clip(params, self.inner.quantile(params[..., :-2], p))

    def mean(self, params: Tensor) -> Tensor:
        return _clip(params, self.inner.mean(params[..., :-2]))

    def variance(self, params: Tensor) -> Tensor:
        return self.inner.variance(self._moments(params))

    def epistemic(self, params: Tensor) -> Tensor:
        return self.inner.epistemic(self._moments(params))

    def crps(self, params: Tensor, x: Tensor) -> Tensor:
        """Score, by Gauss-Legendre where an end is in reach, to some 1e-4 of a spread; else that of ``Y``."""
        shape = torch.broadcast_shapes(params.shape[:-1], x.shape)
        params, x = params.expand(*shape, -1), x.expand(shape)
        inner, (low, high) = params[..., :-2], params[..., -2:].unbind(-1)
        score, at = self.inner.crps(inner, x), _clip(params, x)
        inside = self.inner.cdf(inner, high) - self.inner.cdf(inner, low)
        rows = (1.0 - inside > UNLIKELY) | (at != x)
        size = max(1, _AT_ONCE // (self.inner.n_components * len(LEVELS) * len(NODES)))
        blocks = zip(params[rows].split(size), at[rows].split(size))
        found = torch.cat([self._integral(*block) for block in blocks] or [x.new_zeros(0)])
        return score.masked_scatter(rows, found + (x - at).abs()[rows])

    def _integral(self, params: Tensor, x: Tensor) -> Tensor:
        """Integral of the squared distance of the distribution function from the step at `x` between the ends."""
        levels = torch.tensor(LEVELS).to(x)
        cuts = _clip(params[:, None], self.inner.quantile(params[:, None, :-2], levels))
        ends = torch.where(params[:, -2:].isfinite(), params[:, -2:], cuts[:, [0, -1]])
        edges = torch.cat([cuts, ends, x[:, None]], dim=-1).sort(dim=-1).values
        half = 0.5 * edges.diff(dim=-1)
        at = edges[:, :-1, None] + half[..., None] * (1.0 + torch.from_numpy(NODES).to(x))
        missed = self.inner.cdf(params[:, None, None, :-2], at) - (at > x[:, None, None]).to(x)
        return (half * (missed**2 @ torch.from_numpy(WEIGHTS).to(x))).sum(dim=-1)

    def compose(self, location: Tensor, log_scale: Tensor, shape: Tensor) -> Tensor:
        """Without ends, see `NormalMixture.compose`."""
        return self._without_ends(self.inner.compose(location, log_scale, shape))

    def from_moments(self, mean: Tensor, scale: Tensor) -> Tensor:
        """Without ends: a normal."""
        return self._without_ends(self.inner.from_moments(mean, scale))

    def _without_ends(self, params: Tensor) -> Tensor:
        endless = torch.full_like(params[..., 0], torch.inf)
        return _with_ends(params, -endless, endless)

    def rescale(self, params: Tensor, factor: Tensor) -> Tensor:
        """Stretched about the mean of ``Y``; the ends stay."""
        inner = self.inner.rescale(params[..., :-2], factor)
        return torch.cat([inner, params[..., -2:].expand(*inner.shape[:-1], 2)], dim=-1)

    def affine(self, params: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """The ends move too."""
        inner = self.inner.affine(params[..., :-2], shift, scale)
        low, high = (shift + scale * end for end in params[..., -2:].unbind(-1))
        return _with_ends(inner, *(end.expand(inner.shape[:-1]) for end in (low, high)))

    def _moments(self, params: Tensor) -> Tensor:
        """Parameters of the mixture of normals whose components have the moments of the censored ones."""
        location, log_scale, log_weight = params[..., :-2].unflatten(-1, (3, -1)).unbind(-2)
        low, high = ((end[..., None] - location) * (-log_scale).exp() for end in params[..., -2:].unbind(-1))
        a, b = low.clamp(min=-FARTHEST), high.clamp(max=FARTHEST)
        first = _shortfall(a) - _shortfall(-b)
        second = a * a * ndtr(a) + b * b * ndtr(-b) + ndtr(b) - ndtr(a) - b * _density(b) + a * _density(a)
        variance = (second - first**2).clamp(min=torch.finfo(first.dtype).tiny)
        is_touched = (low > -FARTHEST) | (high < FARTHEST)
        spread = torch.where(is_touched, log_scale + 0.5 * variance.log(), log_scale)
        middle = torch.where(is_touched, location + log_scale.exp() * first, location)
        return torch.cat([middle, spread, log_weight], dim=-1)


def _with_ends(params: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.cat([params, low[..., None], high[..., None]], dim=-1)


def _clip(params: Tensor, x: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(x, params[..., -2]), params[..., -1])


def _density(u: Tensor) -> Tensor:
    return (-0.5 * u * u).exp() / math.sqrt(2.0 * math.pi)


def _shortfall(u: Tensor) -> Tensor:
    """Mean of ``max(u - Z, 0)`` for a standard normal ``Z``."""
    return u * ndtr(u) + _density(u)

"""Mixture of normals: a likelihood for skew, heavy tails and values that pile up at a point."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tsode.likelihoods.base import LOG_SCALE_RANGE, Likelihood
from tsode.likelihoods.normal_scores import solve_mixture
from tsode.likelihoods.quantiles import implicit_quantile, in_blocks

__all__ = ["NormalMixture"]

UNIT_RANGE = (-20.0, 10.0)  # of the log scale in units of which components stand apart: far beyond what is learned


class NormalMixture(Likelihood):
    """Mixture of `k` normal distributions with ``3 k`` parameters: locations, log scales, log weights.

    The log weights need not be normalised. A forecast of an ensemble, or of sampled latent states, is a mixture too:
    see `merge`.

    Parameters
    ----------
    n_components : int
    """

    def __init__(self, n_components: int = 3) -> None:
        self.n_components = n_components
        self.n_params = self.n_shape = 3 * n_components

    def compose(self, location: Tensor, log_scale: Tensor, shape: Tensor) -> Tensor:
        """Components around their mean ``location``, in units of ``exp(log_scale)``; `shape` (... 3k) is raw."""
        return _Composition.apply(location, log_scale, shape)

    def parts(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Locations, log scales and weights, (... k) each; the weights sum to 1."""
        location, log_scale, log_weight = params.unflatten(-1, (3, -1)).unbind(-2)
        return location, log_scale, log_weight.softmax(dim=-1)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        location, log_scale, log_weight = params.unflatten(-1, (3, -1)).unbind(-2)
        u = (x[..., None] - location) * (-log_scale).exp()
        inside = log_weight.log_softmax(dim=-1) - 0.5 * u * u - log_scale
        return inside.logsumexp(dim=-1) - 0.5 * math.log(2.0 * math.pi)

    def crps(self, params: Tensor, x: Tensor) -> Tensor:
        """Closed form of Grimit, Gneiting, Berrocal & Johnson 2006, equation 3."""
        return _CRPS.apply(params, x)

    def mean(self, params: Tensor) -> Tensor:
        location, _, weight = self.parts(params)
        return (weight * location).sum(dim=-1)

    def variance(self, params: Tensor) -> Tensor:
        location, log_scale, weight = self.parts(params)
        mean = (weight * location).sum(dim=-1, keepdim=True)
        return (weight * ((2.0 * log_scale).exp() + (location - mean) ** 2)).sum(dim=-1)

    def quantile(self, params: Tensor, p: Tensor) -> Tensor:
        p = p.to(params)
        with torch.no_grad():
            x = in_blocks(solve_mixture, params, torch.special.ndtri(p), self.n_components)
        return implicit_quantile(self, params, p, x)

    def cdf(self, params: Tensor, x: Tensor) -> Tensor:
        location, log_scale, weight = self.parts(params)
        return (weight * _below((x[..., None] - location) * (-log_scale).exp())).sum(dim=-1)

    def log_above(self, params: Tensor, x: Tensor) -> Tensor:
        location, log_scale, weight = self.parts(params)
        return (weight * _below((location - x[..., None]) * (-log_scale).exp())).sum(dim=-1).log()

    def from_moments(self, mean: Tensor, scale: Tensor) -> Tensor:
        component = torch.stack([mean, scale.log(), torch.zeros_like(mean)], dim=-1)
        return component[..., None].expand(*component.shape, self.n_components).flatten(-2)

    def rescale(self, params: Tensor, factor: Tensor) -> Tensor:
        """Stretched about the mean, which stays."""
        location, log_scale, log_weight = params.unflatten(-1, (3, -1)).unbind(-2)
        mean = self.mean(params)[..., None]
        factor = factor[..., None]
        return torch.cat([mean + factor * (location - mean), log_scale + factor.log(), log_weight], dim=-1)

    def affine(self, params: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        location, log_scale, log_weight = params.unflatten(-1, (3, -1)).unbind(-2)
        shift, scale = shift[..., None], scale[..., None]
        return torch.cat([shift + scale * location, log_scale + scale.log(), log_weight], dim=-1)

    @staticmethod
    def merge(params: Tensor) -> Tensor:
        """Equal-weight mixture of mixtures, or of normals with two parameters: ``(s ... p)`` -> ``(... 3 s k)``."""
        if params.shape[-1] == 2:
            params = torch.cat([params, torch.zeros_like(params[..., :1])], dim=-1)
        location, log_scale, log_weight = params.unflatten(-1, (3, -1)).movedim(0, -2).unbind(-3)
        blocks = (location, log_scale, log_weight.log_softmax(dim=-1))
        return torch.cat([block.flatten(-2) for block in blocks], dim=-1)


def _below(u: Tensor) -> Tensor:
    """Normal distribution function: exact to the last digit in the lower tail too, as `torch.special.ndtr` is not."""
    return 0.5 * torch.erfc(-math.sqrt(0.5) * u)


def _softmax(log_weight: Tensor) -> Tensor:
    """Softmax over the first axis: by whole blocks, several times faster than torch's where that axis is short."""
    weight = (log_weight - log_weight.amax(dim=0)).exp_()
    return weight.div_(weight.sum(dim=0))


class _Composition(torch.autograd.Function):
    """`NormalMixture.compose` and its slopes in one node, by one contiguous block a parameter."""

    @staticmethod
    def forward(ctx: Any, location: Tensor, log_scale: Tensor, shape: Tensor) -> Tensor:
        offset, log_width, log_weight = shape.movedim(-1, 0).contiguous().chunk(3)
        k = len(offset)
        start = torch.linspace(-0.7, 0.7, k, dtype=shape.dtype, device=shape.device)
        weight, unit = _softmax(log_weight), log_scale.clamp(*UNIT_RANGE)
        scale = unit.exp()
        offset = offset + start.reshape(-1, *[1] * location.dim())
        offset.sub_((weight * offset).sum(dim=0))
        width = log_scale + log_width - 0.3
        is_free = (width > LOG_SCALE_RANGE[0]) & (width < LOG_SCALE_RANGE[1])
        ctx.save_for_backward(weight, offset, scale, is_free, unit == log_scale)
        params = [torch.addcmul(location, scale, offset), width.clamp_(*LOG_SCALE_RANGE), log_weight]
        return torch.cat(params).movedim(0, -1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight, offset, scale, is_free, is_unit_free = ctx.saved_tensors
        d_location, d_width, d_weight = grad.movedim(-1, 0).contiguous().chunk(3)
        d_width = d_width * is_free
        d_offset = scale * d_location
        total = d_offset.sum(dim=0)
        d_log_scale = (d_offset * offset).sum(dim=0) * is_unit_free + d_width.sum(dim=0)
        d_weight = torch.addcmul(d_weight, weight * offset, total, value=-1.0)  # sum of weight times offset is 0
        d_shape = torch.cat([torch.addcmul(d_offset, weight, total, value=-1.0), d_width, d_weight])
        return d_location.sum(dim=0), d_log_scale, d_shape.movedim(0, -1)


class _CRPS(torch.autograd.Function):
    """The score and its slopes in one node: a training step takes it of every value three times.

    ``sum_k w_k A(x - m_k, s_k) - sum_k w_k^2 s_k / sqrt(pi) - sum_{i<j} w_i w_j A(m_i - m_j, hypot(s_i, s_j))`` with
    ``A(m, s) = E |N(m, s^2)|``, whose slopes are ``erf(m / s sqrt(2))`` in m and twice the normal density in s.
    """

    @staticmethod
    def forward(ctx: Any, params: Tensor, x: Tensor) -> Tensor:
        wide = params.broadcast_to(*torch.broadcast_shapes(params.shape[:-1], x.shape), params.shape[-1])
        # one contiguous block a parameter: operations on a last axis of three are slow
        location, log_scale, log_weight = wide.movedim(-1, 0).contiguous().chunk(3)
        scale, weight = log_scale.exp(), _softmax(log_weight)
        distance, d_location, d_scale = _mean_distance(x - location, scale)
        score = (weight * distance).sum(dim=0) - (weight * weight * scale).sum(dim=0) / math.sqrt(math.pi)
        has_slopes = any(ctx.needs_input_grad)  # validation and the fit of spreads ask for scores alone
        if has_slopes:
            d_weight = torch.addcmul(distance, weight, scale, value=-2.0 / math.sqrt(math.pi))
            d_x = (weight * d_location).sum(dim=0)
            d_location, d_scale = d_location.neg_(), d_scale.sub_(weight / math.sqrt(math.pi))
        for i in range(len(scale)):
            for j in range(i):
                spread = torch.hypot(scale[i], scale[j])
                distance, slope, density = _mean_distance(location[i] - location[j], spread)
                score.sub_(weight[i] * weight[j] * distance)
                if not has_slopes:
                    continue
                density.div_(spread)
                for k, other, sign in ((i, j, -1.0), (j, i, 1.0)):
                    d_weight[k].addcmul_(weight[other], distance, value=-1.0)
                    d_location[k].addcmul_(weight[other], slope, value=sign)
                    d_scale[k].sub_(weight[other] * density * scale[k])
        if not has_slopes:
            return score
        d_log_weight = weight * (d_weight - (weight * d_weight).sum(dim=0))
        d_params = torch.cat([weight * d_location, weight * scale * d_scale, d_log_weight])
        ctx.save_for_backward(d_params, d_x)
        ctx.shapes = params.shape, x.shape
        return score

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        (d_params, d_x), (params, x) = ctx.saved_tensors, ctx.shapes
        return (d_params * grad).movedim(0, -1).sum_to_size(params), (d_x * grad).sum_to_size(x)


def _mean_distance(mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``E |N(mean, scale^2)|`` and its slopes in both."""
    u = mean / scale
    slope = torch.erf(u * math.sqrt(0.5))
    density = u.square_().mul_(-0.5).exp_().mul_(math.sqrt(2.0 / math.pi))
    return torch.addcmul(mean * slope, scale, density), slope, density

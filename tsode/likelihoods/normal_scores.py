"""Quantiles of mixtures of normals, by inversion of their distribution functions as normal scores."""

from __future__ import annotations

import math
from functools import reduce

import torch
from torch import Tensor

from tsode.likelihoods.quantiles import invert_cdf

__all__ = ["solve_mixture", "total"]

_IN_TAIL = 3.5  # normal scores beyond which `erf` lacks digits that `erfc` has in the lower tail


def total(parts: Tensor) -> Tensor:
    """Sum over the first axis, in one order wherever an element stands: `torch.sum` rounds as its place says."""
    return reduce(torch.add, parts.unbind()) if len(parts) > 1 else parts[0].clone()


def solve_mixture(params: Tensor, z: Tensor) -> Tensor:
    """Quantiles (q r) at normal scores `z` (q r), of mixtures with parameters (3k r).

    Three steps of Halley from the normal of the same moments solve nearly all that is ever forecast, the first
    two in single precision. The rest is held in a bracket. No answer depends on what is asked beside it.
    """
    location, log_scale, log_weight = params.chunk(3)
    weight, scale = (log_weight - log_weight.amax(dim=0)).exp_(), log_scale.exp()
    weight.div_(total(weight))
    mean = total(weight * location)
    spread = total((scale * scale).add_((location - mean).square_()).mul_(weight)).sqrt_()
    precision = math.sqrt(0.5) / scale
    mixture = location, precision, weight
    rough = [part.float() for part in ((location - mean).div_(spread), precision * spread, weight)]
    # the error of a step of Halley is of the third order in its length by the narrowest width
    close = 1e-4 * scale.amin(dim=0)
    x, is_solved = torch.empty_like(z), torch.empty_like(z, dtype=torch.bool)
    for k, score in enumerate(z):
        start = score.float()
        guess = start + _step(start, *_expand(start, *rough))
        guess = guess + _step(start, *_expand(guess, *rough))
        at = torch.addcmul(mean, spread, guess)
        step = _step(score, *_expand(at, *mixture))
        torch.add(at, step, out=x[k])
        torch.le(step.abs_(), close, out=is_solved[k])
    which, rows = (~(is_solved & (z.abs() < _IN_TAIL))).nonzero(as_tuple=True)
    for level, row in zip(which.split(len(mean)), rows.split(len(mean))):
        rest = (part.index_select(-1, row) for part in (close, *mixture))
        x[level, row] = _solve_in_bracket(x[level, row], z[level, row], *rest)
    return x


def _expand(
    x: Tensor, location: Tensor, precision: Tensor, weight: Tensor, *, is_far: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Normal score of the mixture at `x` (r,), in which it is nearly straight, its slope, and the slope's own.

    `precision` is that of the error function. With `is_far`, exact in the lower tail too.
    """
    u = (x - location).mul_(precision)
    if is_far:
        below = 0.5 * total(torch.erfc(-u).mul_(weight))
    else:
        below = 0.5 + 0.5 * total(torch.erf(u).mul_(weight))
    score = torch.special.ndtri(below)
    part = torch.square(u).neg_().exp_().mul_(weight).mul_(precision)
    u.mul_(precision)
    # of the distribution function, over the normal density at the score
    ratio = (0.5 * score * score).exp_().mul_(math.sqrt(2.0))
    slope = total(part).mul_(ratio)
    bend = torch.addcmul(total(part.mul_(u)).mul_(ratio).mul_(-2.0), score * slope, slope)
    return score, slope, bend


def _step(z: Tensor, score: Tensor, slope: Tensor, bend: Tensor) -> Tensor:
    """Halley's step to the score `z`."""
    newton = (z - score).div_(slope)
    return newton.div_((newton * bend).div_(slope).mul_(0.5).add_(1.0).clamp_(0.5, 2.0))


def _solve_in_bracket(x: Tensor, z: Tensor, close: Tensor, *mixture: Tensor) -> Tensor:
    """Quantiles (r,) from the first guess `x`: those of a mixture lie between those of its components."""
    location, precision, _ = mixture
    ends = torch.addcmul(location, math.sqrt(0.5) / precision, z)
    low, high = ends.amin(dim=0), ends.amax(dim=0)

    def excess(x: Tensor, z: Tensor, *mixture: Tensor) -> tuple[Tensor, Tensor]:
        expansion = _expand(x, *mixture, is_far=True)
        return expansion[0] - z, _step(z, *expansion)

    guess = torch.where(x.isfinite(), x, 0.5 * (low + high)).clamp(low, high)
    return invert_cdf(excess, low, high, guess, close, z, *mixture)

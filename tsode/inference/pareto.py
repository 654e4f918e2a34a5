"""Pareto smoothing of importance weights, and the shape k that says whether they can be trusted."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["pareto_shape", "smooth_weights", "tail_shape"]

PRIOR_COUNT, PRIOR_SHAPE = 10, 0.5  # k is drawn to this shape as by so many draws (Vehtari et al. 2024, appendix C)
FEWEST = 5  # draws of a tail


def pareto_shape(excess: Tensor) -> tuple[Tensor, Tensor]:
    """Shape and scale of generalised Pareto laws (Zhang & Stephens 2009, Technometrics 51, 316).

    Parameters
    ----------
    excess : Tensor[... n]
        Positive draws, in increasing order.

    Returns
    -------
    shape, scale : Tensor[...]
        Positive shapes are heavy tails: as many moments exist as are below 1 / shape.
    """
    n = excess.shape[-1]
    n_grid = 30 + int(math.sqrt(n))
    quartile = excess[..., int(n / 4 + 0.5) - 1, None]
    grid = torch.arange(1, n_grid + 1, dtype=excess.dtype)
    theta = 1.0 / excess[..., -1:] + (1.0 - torch.sqrt(n_grid / (grid - 0.5))) / (3.0 * quartile)
    shape = torch.log1p(-theta[..., None] * excess[..., None, :]).mean(dim=-1)
    profile = n * (torch.log(-theta / shape) - shape - 1.0)
    weight = torch.softmax(profile.nan_to_num(nan=-torch.inf), dim=-1)
    best = (weight * theta).sum(dim=-1)
    found = torch.log1p(-best[..., None] * excess).mean(dim=-1)
    return found, -found / best


def tail_shape(x: Tensor) -> tuple[Tensor, int]:
    """Pareto shape (...) of the upper tail of equally weighted draws ``x`` (... n), and of how many draws it is.

    Draws have no variance from .5 and no mean from 1. Its standard error is some ``(1 + shape) / sqrt(n_tail)``.
    """
    n_tail = min(_n_tail(x.shape[-1]), x.shape[-1] - 1)
    ordered = x.sort(dim=-1).values
    excess = ordered[..., -n_tail:] - ordered[..., -n_tail - 1, None]
    # ties at the cut have no logarithm
    size = excess[..., -1:].clamp(min=torch.finfo(x.dtype).tiny)
    return pareto_shape((excess / size).clamp(min=1e-12))[0], n_tail


def _n_tail(n: int) -> int:
    return max(FEWEST, min(int(0.2 * n), int(3.0 * math.sqrt(n))))


def smooth_weights(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised importance weights whose largest are the expected ones of a Pareto law fitted to them, and its shape.

    Parameters
    ----------
    log_weights : Tensor[... s]
        Of draws; -inf is a weight of zero.

    Returns
    -------
    log_weights : Tensor[... s]
        Their sum, as weights, is one.
    k : Tensor[...]
        Up to .7 averages are reliable; -inf where the largest weights are equal; inf where too few are not zero.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao and Gabry, "Pareto smoothed importance sampling", JMLR 25, 2024.
    """
    s = log_weights.shape[-1]
    n_tail = _n_tail(s)
    if s < 2 * FEWEST:
        return log_weights - log_weights.logsumexp(dim=-1, keepdim=True), torch.full_like(
            log_weights[..., 0], torch.inf
        )
    largest = log_weights.amax(dim=-1, keepdim=True)
    relative = (log_weights - largest.where(largest.isfinite(), 0.0)).exp()
    order = relative.argsort(dim=-1, stable=True)
    ordered = relative.gather(-1, order)
    tail, cut = ordered[..., -n_tail:], ordered[..., -n_tail - 1, None]
    excess = tail - cut
    # a first excess of zero (ties at the cut) has no logarithm
    is_flat = tail[..., -1] - tail[..., 0] <= 1e-10 * tail[..., -1]
    is_short = cut[..., 0] <= 0.0
    usable = torch.linspace(0.1, 1.0, n_tail, dtype=excess.dtype).expand_as(excess)
    fitted = excess.clamp(min=1e-300).where(~(is_flat | is_short)[..., None], usable)
    shape, scale = pareto_shape(fitted)
    shape = (n_tail * shape + PRIOR_COUNT * PRIOR_SHAPE) / (n_tail + PRIOR_COUNT)
    share = (torch.arange(n_tail, dtype=excess.dtype) + 0.5) / n_tail
    # of the law's quantiles; its limit for shapes near zero is the exponential law's
    k = shape[..., None]
    quantile = torch.where(k.abs() < 1e-8, -torch.log1p(-share), torch.expm1(-k * torch.log1p(-share)) / k)
    smoothed = torch.minimum(cut + scale[..., None] * quantile, tail[..., -1:])
    smoothed = smoothed.where(~(is_flat | is_short)[..., None], tail)
    ordered = torch.cat([ordered[..., :-n_tail], smoothed], dim=-1)
    weights = torch.zeros_like(ordered).scatter(-1, order, ordered)
    shape = shape.where(~is_flat, -torch.inf).where(~is_short, torch.inf)
    total = weights.sum(dim=-1, keepdim=True)
    even = torch.full_like(weights, -math.log(s))
    return (weights.log() - total.log()).where(total > 0, even), shape

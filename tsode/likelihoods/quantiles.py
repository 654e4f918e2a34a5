"""Quantiles by inversion of a distribution function, many at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tsode.likelihoods.base import Likelihood

__all__ = ["implicit_quantile", "in_blocks", "invert_cdf"]

_MAX_ROUNDS = 100  # more than bisection alone would need; some three steps end it
_AT_ONCE = 2**17  # numbers in a temporary: such blocks stay in the cache


def invert_cdf(
    excess: Callable[..., tuple[Tensor, Tensor]],
    low: Tensor,
    high: Tensor,
    x: Tensor,
    close: Tensor,
    *data: Tensor,
) -> Tensor:
    """Roots of increasing functions by steps of Newton, or of a higher order, held in a bracket.

    Parameters
    ----------
    excess : callable
        ``(x, *data)`` of the elements that are still open -> value, and the step to the root (r,).
    low, high : Tensor[q]
        Bounds of each root.
    x : Tensor[q]
        First guess.
    close : Tensor[q]
        A step as short as this is the last.
    *data : Tensor[... q]
        One entry an element.

    Returns
    -------
    Tensor[q]
    """
    root, rows, last = x.clone(), torch.arange(len(x), device=x.device), high - low
    tolerance, rest = 4.0 * torch.finfo(x.dtype).eps, list(data)
    is_open = torch.ones_like(x, dtype=torch.bool)
    for _ in range(_MAX_ROUNDS):
        value, step = excess(x, *rest)
        low, high = torch.where(value < 0, x, low), torch.where(value > 0, x, high)
        new = x + step
        # a step that leaves the bracket, or is more than half the one before (so as not to go in circles), becomes
        # a bisection
        is_good = (new >= low) & (new <= high) & ((new - x).abs() <= 0.5 * last)
        new = torch.where(is_good, new, 0.5 * (low + high)).where(is_open & (value != 0), x)
        last = (new - x).abs()
        # a bisection says nothing about how near the root is
        is_open &= last > torch.maximum(tolerance * (x.abs() + (high - low)), close.where(is_good, 0.0))
        x, n_open = new, int(is_open.sum())
        if 2 * n_open > len(x):  # cheaper than to pick them
            continue
        root[rows] = x
        if not n_open:
            return root
        rest = [t[..., is_open] for t in rest]
        rows, x, last, low, high, close, is_open = (t[is_open] for t in (rows, x, last, low, high, close, is_open))
    root[rows] = x
    return root


def in_blocks(solve: Callable[[Tensor, Tensor], Tensor], params: Tensor, p: Tensor, width: int) -> Tensor:
    """Quantiles at `p`, broadcast against `params` (... w), by blocks in which `width` numbers stand for each.

    ``solve`` is given parameters (w r), one contiguous row a parameter, and what it needs of the levels (q r): those
    on the last axis of `p` together, where `params` is the same for them.
    """
    if params.dim() < 2 or params.shape[-2] != 1 or p.dim() == 0:
        return in_blocks(solve, params[..., None, :], p[..., None], width)[..., 0]
    shape = torch.broadcast_shapes(params.shape[:-1], p.shape)
    each, rows = params.reshape(-1, params.shape[-1]).mT.contiguous(), params.shape[:-2]
    which = torch.arange(each.shape[1], device=p.device).reshape(rows).expand(shape[:-1]).reshape(-1)
    levels = p.expand(shape).reshape(-1, shape[-1])
    size, x = max(1, _AT_ONCE // width), p.new_empty(levels.shape)
    for start in range(0, len(levels), size):
        block = slice(start, start + size)
        x[block] = solve(each.index_select(1, which[block]), levels[block].mT).mT
    return x.reshape(shape)


def implicit_quantile(likelihood: Likelihood, params: Tensor, p: Tensor, x: Tensor) -> Tensor:
    """Quantiles `x` that were solved for without a graph, with the gradient of the implicit function in `params`."""
    if not params.requires_grad:
        return x
    # one differentiable step of Newton
    density = likelihood.log_prob(params.detach(), x).exp().clamp(min=torch.finfo(x.dtype).tiny)
    step = (likelihood.cdf(params, x) - p) / density
    # where a component lies so far away that the density vanishes there is nothing to be mended
    return x - torch.where(step.isfinite() & (step.detach().abs() < 1e-3 * (1.0 + x.abs())), step, 0.0)

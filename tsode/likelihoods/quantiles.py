"""Quantiles by inversion of a distribution function, many at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tsode.likelihoods.base import Likelihood

__all__ = ["implicit_quantile", "invert_cdf"]

_MAX_ROUNDS = 100  # more than bisection alone would need; Newton's steps end it after some six


def invert_cdf(
    excess: Callable[..., tuple[Tensor, Tensor]], low: Tensor, high: Tensor, x: Tensor, *data: Tensor
) -> Tensor:
    """Roots of increasing functions by Newton's method held in a bracket.

    Parameters
    ----------
    excess : callable
        ``(x, *data)`` of the elements that are still open -> value and slope (r,).
    low, high : Tensor[q]
        Bounds of each root.
    x : Tensor[q]
        First guess.
    *data : Tensor[q ...]
        One entry an element.

    Returns
    -------
    Tensor[q]
    """
    root, rows, last = x.clone(), torch.arange(len(x), device=x.device), high - low
    tolerance, rest = 4.0 * torch.finfo(x.dtype).eps, list(data)
    for _ in range(_MAX_ROUNDS):
        value, slope = excess(x, *rest)
        low, high = torch.where(value < 0, x, low), torch.where(value > 0, x, high)
        new = x - value / slope
        # a step that leaves the bracket, or is more than half the one before (so as not to go in circles), becomes
        # a bisection
        is_good = (new > low) & (new < high) & ((new - x).abs() <= 0.5 * last)
        new = torch.where(is_good, new, 0.5 * (low + high)).where(value != 0, x)
        root[rows], last = new, (new - x).abs()
        is_open = last > tolerance * (x.abs() + (high - low))
        if not bool(is_open.any()):
            break
        rows, x, last, low, high, *rest = (t[is_open] for t in (rows, new, last, low, high, *rest))
    return root


def implicit_quantile(likelihood: Likelihood, params: Tensor, p: Tensor, x: Tensor) -> Tensor:
    """Quantiles `x` that were solved for without a graph, with the gradient of the implicit function in `params`."""
    # one differentiable step of Newton
    density = likelihood.log_prob(params.detach(), x).exp().clamp(min=torch.finfo(x.dtype).tiny)
    step = (likelihood.cdf(params, x) - p) / density
    # where a component lies so far away that the density vanishes there is nothing to be mended
    return x - torch.where(step.isfinite() & (step.detach().abs() < 1e-3 * (1.0 + x.abs())), step, 0.0)

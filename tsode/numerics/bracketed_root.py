"""Root finding between two bounds, many roots at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Bracket", "narrow_bracket"]

_N_0 = 1  # iterations that the method may take beyond those of bisection


class Bracket(NamedTuple):
    """Points before and behind a root, with the values there: Tensor[b e] each."""

    low: Tensor
    high: Tensor
    value_low: Tensor
    value_high: Tensor


def narrow_bracket(
    function: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, value_low: Tensor, value_high: Tensor, tol: float
) -> Bracket:
    """Bring two points to within `tol` of each other about a place where a function becomes negative.

    The ITP method: superlinear where the function bends little, and at most two evaluations more than bisection.
    A value at `low` that is not positive is taken as a positive one without a size, so the lower point is `low` itself
    where the function is negative all over the bracket. A function that is zero for a while is not yet negative.

    Parameters
    ----------
    function : callable
        (b e) -> (b e), element by element.
    low, high, value_low, value_high : Tensor[b e], float64
        Bounds within [0, 1]; elements with ``low == high`` are done.

    References
    ----------
    Oliveira and Takahashi, "An enhancement of the bisection method average performance preserving minmax optimality",
    ACM Transactions on Mathematical Software 47, 2020; its constants ``kappa_1 = 0.2 / (high - low)``, ``kappa_2 = 2``.
    """
    half = 0.5 * tol
    kappa = 0.2 / (high - low).clamp(min=half)
    n_bisections = ((high - low) / tol).clamp(min=1.0).log2().ceil()
    value_low = value_low.clamp(min=0.0)
    n_rounds = math.ceil(math.log2(1.0 / tol)) + _N_0 + 1
    for k in range(n_rounds):
        width = high - low
        if not (width > tol).any():  # the loop test
            break
        middle = 0.5 * (low + high)
        slack = (half * 2.0 ** (n_bisections + _N_0 - k) - 0.5 * width).clamp(min=0.0)
        rise = value_low - value_high
        secant = torch.where(rise > 0, low + width * value_low / torch.where(rise > 0, rise, 1.0), middle)
        towards = (middle - secant).sign()
        # never less than the tolerance resolves, lest a root found to the last digit leave the other bound far away
        shift = (kappa * width**2).clamp(min=0.5 * half)
        truncated = torch.where(shift <= (middle - secant).abs(), secant + towards * shift, middle)
        x = torch.where((truncated - middle).abs() <= slack, truncated, middle - towards * slack)
        value = function(x)
        is_open = width > tol
        is_before, is_behind = is_open & (value >= 0), is_open & ~(value >= 0)
        low, value_low = torch.where(is_before, x, low), torch.where(is_before, value, value_low)
        high, value_high = torch.where(is_behind, x, high), torch.where(is_behind, value, value_high)
    return Bracket(low, high, value_low, value_high)

"""Chebyshev points of an interval, and the polynomial through values there."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["N_PARTS", "chebyshev_fit", "chebyshev_points", "polynomial_root"]

N_PARTS = 32
_N_NEWTON = 4


def chebyshev_points() -> Tensor:
    """Shares of an interval, from 0 to 1, dense towards its ends: Tensor[n+1], float64.

    Unequal parts, so that nothing periodic looks the same at all of them.
    """
    return (1 - torch.cos(math.pi / N_PARTS * torch.arange(N_PARTS + 1, dtype=torch.float64))) / 2


def chebyshev_fit() -> Tensor:
    """Matrix (n+1 n+1) from values at the points to coefficients of ``cos(k angle)``, ``share = (1 - cos(angle)) / 2``.

    Those of a function that the points resolve fall off to rounding errors.
    """
    index = torch.arange(N_PARTS + 1, dtype=torch.float64)
    is_end = (index == 0) | (index == N_PARTS)
    half = torch.where(is_end, 0.5, 1.0)
    return 2 / N_PARTS * half[:, None] * half * torch.cos(math.pi / N_PARTS * index[:, None] * index)


def polynomial_root(value: Tensor, part: Tensor, value_low: Tensor, value_high: Tensor) -> Tensor:
    """Share (b e) at which the polynomial through values at the points is zero, within a part (b e).

    Parameters
    ----------
    value : Tensor[b e n+1]
        Sums run along this last axis: so they round alike however many rows there are.
    value_low, value_high : Tensor[b e]
        At the ends of the part, of different sign.
    """
    coefficients = (value[..., None, :] * chebyshev_fit().to(value)).sum(dim=-1)
    order = torch.arange(N_PARTS + 1, dtype=value.dtype, device=value.device)
    low = math.pi / N_PARTS * part
    rise = value_high - value_low
    angle = low - math.pi / N_PARTS * value_low / torch.where(rise == 0, 1.0, rise)
    for _ in range(_N_NEWTON):
        turn = order * angle[..., None]
        height, slope = (coefficients * turn.cos()).sum(dim=-1), -(coefficients * order * turn.sin()).sum(dim=-1)
        angle = angle - height / torch.where(slope == 0, torch.inf, slope)
        angle = angle.maximum(low).minimum(low + math.pi / N_PARTS)
    return (1 - angle.cos()) / 2

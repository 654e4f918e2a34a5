"""Convex function of one layer, and its slope: the symmetric layer of parabolic and second-order networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tsode.errors import ParameterError
from tsode.nn.static_offset import StaticOffset

__all__ = ["ConvexLayer"]


class ConvexLayer(nn.Module):
    """Function ``V(x) = sum log cosh(K x + b)`` with the slope ``K' tanh(K x + b)``: convex, and nowhere negative.

    Parameters
    ----------
    n : int
        Width of ``x``.
    n_static : int
        Width of ``theta``, which sets ``b``.
    width : int
        Rows of ``K``, whose singular values start near 1.
    """

    def __init__(self, n: int, n_static: int, width: int) -> None:
        super().__init__()
        if width < 1:
            raise ParameterError(f"width={width} must be at least 1.")
        self.weight = nn.Parameter(torch.randn(width, n) / max(n, width) ** 0.5)
        self.offset = StaticOffset(n_static, width)

    def forward(self, x: Tensor, theta: Tensor) -> Tensor:
        """Value of each row (b,): ``x`` (b n), ``theta`` (b s)."""
        q = self._inside(x, theta).abs()
        return (q + functional.softplus(-2.0 * q) - math.log(2.0)).sum(dim=1)

    def slope(self, x: Tensor, theta: Tensor) -> Tensor:
        """Gradient by ``x``, as of `forward` -> (b n)."""
        return self._inside(x, theta).tanh() @ self.weight

    def _inside(self, x: Tensor, theta: Tensor) -> Tensor:
        return torch.addmm(self.offset(theta), x, self.weight.mT)

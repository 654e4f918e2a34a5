"""Offset of a layer that other numbers set, where there are such."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Offset"]


class Offset(nn.Module):
    """Affine map ``b + C theta``, in the shape of a layer, down to no ``theta`` at all.

    Parameters
    ----------
    n_static, width : int
        Widths of ``theta`` and of the layer.
    """

    def __init__(self, n_static: int, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(width))
        self.weight = nn.Parameter(torch.randn(width, n_static) / n_static**0.5) if n_static else None

    def forward(self, theta: Tensor, like: Tensor) -> Tensor:
        """``theta`` (b n_static), ``like`` (b width) -> (b width), in memory of its own.

        Where `like` is 0, the sum of both has the same bits, and so has any function of them: same places, same code.
        """
        offset = self.bias if self.weight is None else torch.addmm(self.bias, theta, self.weight.T)
        return offset.expand_as(like).contiguous()

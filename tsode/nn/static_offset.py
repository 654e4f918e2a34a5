"""Offset of a layer, which static reals may set."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["StaticOffset"]


class StaticOffset(nn.Module):
    """Offset ``V theta + c``, at the start zero for ``theta = 0``; without statics the same for all series.

    Parameters
    ----------
    n_static : int
        Width of ``theta``.
    n_out : int
    """

    def __init__(self, n_static: int, n_out: int) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.zeros(n_out))
        self.slope = nn.Parameter(torch.randn(n_out, n_static) / n_static**0.5) if n_static else None

    def forward(self, theta: Tensor) -> Tensor:
        """Offset of each row (b n), or of all (n): ``theta`` (b s)."""
        return self.constant if self.slope is None else torch.addmm(self.constant, theta, self.slope.mT)

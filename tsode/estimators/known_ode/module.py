"""Draws of a posterior as a module, so that a model file holds them as it holds weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["PosteriorDraws"]


class PosteriorDraws(nn.Module):
    """Equally weighted draws of the unbounded coordinates of every problem.

    Parameters
    ----------
    draws : Tensor[g k p], float64
    """

    can_resume, can_smooth, state_width = False, True, 0
    draws: Tensor

    def __init__(self, draws: Tensor) -> None:
        super().__init__()
        self.register_buffer("draws", draws)

    @classmethod
    def of_size(cls, *shape: int) -> PosteriorDraws:
        """One to read a file into."""
        return cls(torch.zeros(shape, dtype=torch.float64))

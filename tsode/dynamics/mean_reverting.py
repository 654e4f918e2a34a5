"""Mean reversion: relaxation to a constant level."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsode.dynamics.base import Relaxing

__all__ = ["MeanReverting"]


class MeanReverting(Relaxing):
    """Drift that relaxes every coordinate to its own level: ``rate * (level - z)``.

    `tsode.numerics.ExponentialEuler` is exact for it.

    Parameters
    ----------
    n_state : int
        Width of the state. Rates start at 1 per time unit, levels at 0.

    References
    ----------
    Uhlenbeck and Ornstein, "On the theory of the Brownian motion", Physical Review 36, 1930: the drift alone.
    """

    def __init__(self, n_state: int) -> None:
        super().__init__(n_state)
        self.level = nn.Parameter(torch.zeros(n_state))
        self.log_rate = nn.Parameter(torch.zeros(n_state))

    def relaxation(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.log_rate.exp().expand_as(z), self.level.expand_as(z)

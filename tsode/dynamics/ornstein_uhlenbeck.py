"""Ornstein-Uhlenbeck process."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsode.numerics.sde import Ito

__all__ = ["OrnsteinUhlenbeck"]


class OrnsteinUhlenbeck(Ito):
    """Independent coordinates that relax to their level under constant noise: ``rate (level - z) dt + sigma dW``.

    Parameters
    ----------
    n_state : int
        Width of the state. Rates and sigmas start at 1, levels at 0.

    References
    ----------
    Uhlenbeck and Ornstein, "On the theory of the Brownian motion", Physical Review 36, 1930.
    """

    def __init__(self, n_state: int) -> None:
        super().__init__(n_state)
        self.level = nn.Parameter(torch.zeros(n_state))
        self.log_rate = nn.Parameter(torch.zeros(n_state))
        self.log_sigma = nn.Parameter(torch.zeros(n_state))

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        return self.log_rate.exp() * (self.level - z)

    def diffusion(self, t: Tensor, z: Tensor) -> Tensor:
        return self.log_sigma.exp().expand_as(z)

    def diffusion_slope(self, t: Tensor, z: Tensor) -> Tensor:
        return torch.zeros_like(z)

    def transition(self, z: Tensor, span: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance, (b d) each, of the normal law after ``span`` (b,) from ``z`` (b d)."""
        decay = -self.log_rate.exp() * span.to(z.dtype)[:, None]
        variance = (2 * self.log_sigma - self.log_rate).exp() * -torch.expm1(2 * decay) / 2
        return self.level + (z - self.level) * decay.exp(), variance

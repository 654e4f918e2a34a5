"""Geometric Brownian motion."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsode.numerics.sde import Ito

__all__ = ["GeometricBrownian"]


class GeometricBrownian(Ito):
    """Independent coordinates that grow in proportion to themselves: ``growth z dt + sigma z dW``.

    Parameters
    ----------
    n_state : int
        Width of the state. Growth starts at 0, sigmas at 1/2.

    References
    ----------
    Kloeden and Platen, *Numerical Solution of Stochastic Differential Equations*, eq. 4.4.6.
    """

    def __init__(self, n_state: int) -> None:
        super().__init__(n_state)
        self.growth = nn.Parameter(torch.zeros(n_state))
        self.sigma = nn.Parameter(torch.full((n_state,), 0.5))

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        return self.growth * z

    def diffusion(self, t: Tensor, z: Tensor) -> Tensor:
        return self.sigma * z

    def diffusion_slope(self, t: Tensor, z: Tensor) -> Tensor:
        return self.sigma.expand_as(z)

    def along(self, z: Tensor, span: Tensor, w: Tensor) -> Tensor:
        """State after ``span`` (b,) from ``z`` (b d) where the Brownian path has moved by ``w`` (b d)."""
        growth = (self.growth - 0.5 * self.sigma**2) * span.to(z.dtype)[:, None]
        return z * torch.exp(growth + self.sigma * w)

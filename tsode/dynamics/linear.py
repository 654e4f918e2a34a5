"""Linear dynamics with constant coefficients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsode.dynamics.base import Dynamics

__all__ = ["LinearDynamics"]


class LinearDynamics(Dynamics):
    """Drift ``A z + b``; its solution is a matrix exponential.

    Parameters
    ----------
    n_state : int
        Width of the state.

    References
    ----------
    Hirsch, Smale, Devaney, *Differential Equations, Dynamical Systems, and an Introduction to Chaos*, chapter 6.
    """

    def __init__(self, n_state: int) -> None:
        super().__init__(n_state)
        # Eigenvalues of about 0.1 in modulus: slow, and without a preferred direction, until trained.
        self.matrix = nn.Parameter(0.1 * torch.randn(n_state, n_state) / n_state**0.5)
        self.offset = nn.Parameter(torch.zeros(n_state))

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        return torch.addmm(self.offset, z, self.matrix.T)

"""Penalty on paths that move apart."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.dynamics.base import Dynamics
from tsode.errors import ParameterError
from tsode.numerics.row_jacobian import linearise
from tsode.training.penalties.base import Penalty

__all__ = ["Contraction"]


class Contraction(Penalty):
    """Mean of ``max(0, mu(J) + rate)**2``, with the logarithmic norm ``mu(J) = max eig (J + J') / 2`` of the Jacobian.

    Where ``mu(J) <= -rate`` on a convex set, any two paths in it come nearer to each other by ``exp(-rate t)`` in the
    Euclidean norm: a wrong start is forgotten. Only what moves counts; what stands still does so by itself. The
    Jacobian is whole and its eigenvalues exact, at a cost of as many gradients as coordinates for each of `n_states`.

    Parameters
    ----------
    n_moving, n_static, weight, n_states
        See `Penalty`.
    rate : float
        Per unit of model time; negative = paths may part, but no faster.

    References
    ----------
    Lohmiller, Slotine, "On contraction analysis for non-linear systems", Automatica 34, 1998, theorem 1.
    Soederlind, "The logarithmic norm. History and modern theory", BIT 46, 2006.
    """

    def __init__(
        self, n_moving: int, n_static: int = 0, rate: float = 0.0, weight: float = 1.0, n_states: int = 64
    ) -> None:
        super().__init__(n_moving, n_static, weight, n_states)
        if not abs(rate) < float("inf"):
            raise ParameterError(f"rate={rate!r} must be finite.")
        self.rate = rate

    def logarithmic_norm(self, field: Dynamics, t: Tensor, z: Tensor) -> Tensor:
        """How fast neighbours part at most (b,): ``t`` (b,), ``z`` (b d)."""
        jacobian = linearise(field, t, z)[1][:, : self.n_moving, : self.n_moving]
        return torch.linalg.eigvalsh(0.5 * (jacobian + jacobian.mT))[:, -1]

    def forward(self, field: Dynamics, t: Tensor, z: Tensor) -> Tensor:
        return (self.logarithmic_norm(field, t, z) + self.rate).clamp(min=0.0).square().mean()

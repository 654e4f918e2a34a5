"""Gated recurrent unit in continuous time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsode.dynamics.base import Relaxing

__all__ = ["GRUODE"]


class GRUODE(Relaxing):
    """Drift ``(1 - u) * (n - z)`` with the gates of a GRU without input, as in GRU-ODE-Bayes (eq. 3).

    ``r, u = sigmoid(U z + b)`` and ``n = tanh(b_n + r * (U_n z + b_un))``, the reset gate standing where
    `torch.nn.GRUCell` has it: one Euler step of length 1 is that cell's update with zero input. States that start
    within (-1, 1) stay there.

    Parameters
    ----------
    n_state : int
        Width of the state.

    References
    ----------
    De Brouwer et al., "GRU-ODE-Bayes: continuous modeling of sporadically-observed time series", NeurIPS 2019.
    """

    def __init__(self, n_state: int) -> None:
        super().__init__(n_state)
        self.gates = nn.Linear(n_state, 3 * n_state)  # r, u, n in one product, in the order of GRUCell
        self.candidate_bias = nn.Parameter(torch.zeros(n_state))

    def relaxation(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        gates, candidate = self.gates(z).tensor_split([2 * self.n_state], dim=1)
        r, u = gates.sigmoid().chunk(2, dim=1)
        return 1 - u, torch.tanh(torch.addcmul(self.candidate_bias, r, candidate))

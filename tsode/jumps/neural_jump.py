"""Memoryless jump of the neural jump ODE."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsode.core.observation import Observation
from tsode.jumps.base import JumpMap

__all__ = ["NeuralJump"]


class NeuralJump(JumpMap):
    """State set anew from the observation alone: ``z_plus = rho(x, mask)``.

    Herrera, Krach & Teichmann 2021, equation 5. It fits Markov processes that are seen whole; what was learned
    before an observation is forgotten, so partly observed series want a jump with memory. An input alone does not set
    the state anew: it leaves the state as it is, for the filter to add its effect.

    Parameters
    ----------
    width : int
        Hidden units of ``rho``.
    """

    def __init__(self, n_state: int, n_channels: int, n_inputs: int = 0, width: int = 64) -> None:
        super().__init__(n_state, n_channels, n_inputs)
        self.rho = nn.Sequential(
            nn.Linear(2 * n_channels, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, n_state)
        )

    def jump(self, z: Tensor, observation: Observation) -> Tensor:
        is_seen = (observation.mask > 0).any(dim=1, keepdim=True)
        after = self.rho(torch.cat([observation.values * observation.mask, observation.mask], dim=-1))
        return after.where(is_seen, z)

"""Plain GRU jump of the ODE-RNN."""

from __future__ import annotations

from torch import Tensor, nn

from tsode.core.observation import Observation
from tsode.jumps.base import JumpMap

__all__ = ["GRU"]


class GRU(JumpMap):
    """GRU cell on ``[mask * x, mask, input]`` (Rubanova et al. 2019, algorithm 1)."""

    def __init__(self, n_state: int, n_channels: int, n_inputs: int = 0) -> None:
        super().__init__(n_state, n_channels, n_inputs)
        self.cell = nn.GRUCell(2 * n_channels + n_inputs, n_state)

    def jump(self, z: Tensor, observation: Observation) -> Tensor:
        return self.cell(self.read(observation, observation.values * observation.mask, observation.mask), z)

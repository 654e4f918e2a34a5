"""GRU jump that is fed what the state failed to predict."""

from __future__ import annotations

from torch import Tensor, nn

from tsode.core.observation import Observation
from tsode.jumps.base import JumpMap

__all__ = ["InnovationGRU"]


class InnovationGRU(JumpMap):
    """GRU cell on ``[mask * (x - predicted), mask * x, mask, input]``: a learned form of the Kalman filter's gain.

    The innovation ``x - predicted`` is what a Kalman update multiplies by its gain; here the gain is a gated
    recurrent cell (Cho et al. 2014, eq. 5-8) that acts on the whole state.
    """

    def __init__(self, n_state: int, n_channels: int, n_inputs: int = 0) -> None:
        super().__init__(n_state, n_channels, n_inputs)
        self.cell = nn.GRUCell(3 * n_channels + n_inputs, n_state)

    def jump(self, z: Tensor, observation: Observation) -> Tensor:
        x, mask = observation.values * observation.mask, observation.mask
        innovation = x - mask * observation.predicted[..., 0]
        return self.cell(self.read(observation, innovation, x, mask), z)

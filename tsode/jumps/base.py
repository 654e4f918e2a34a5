"""Jump of the state at an observation: the base class, and what a member promises."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from tsode.core.observation import Observation

__all__ = ["JumpMap"]


class JumpMap(nn.Module, ABC):
    """Change of state at an observation or input: ``z_plus = jump(z_minus, observation)``.

    A member promises: a row without observation or input keeps its state bit for bit; unseen values are never read.

    Parameters
    ----------
    n_state, n_channels : int
    n_inputs : int
        Width of the inputs.

    Attributes
    ----------
    needs_scale : bool
        Whether `jump` reads more of the prediction than its location.
    n_response : int
        First coordinates of the state that answer to inputs alone: they begin at zero, and are all that inputs add to.
    """

    needs_scale: bool = False
    n_response: int = 0

    def __init__(self, n_state: int, n_channels: int, n_inputs: int = 0) -> None:
        super().__init__()
        self.n_state = n_state
        self.n_channels = n_channels
        self.n_inputs = n_inputs

    @abstractmethod
    def jump(self, z: Tensor, observation: Observation) -> Tensor:
        """State after the observation or input, in rows that have any: ``z`` (b d) -> (b d)."""

    def read(self, observation: Observation, *features: Tensor) -> Tensor:
        """Inputs of a cell: `features` (b ...) and the inputs of the system, zeros where there are none."""
        if not self.n_inputs:
            return torch.cat(features, dim=-1)
        inputs = observation.inputs
        if inputs is None:
            inputs = features[0].new_zeros(len(features[0]), self.n_inputs)
        return torch.cat([*features, inputs], dim=-1)

    def forward(self, z: Tensor, observation: Observation) -> Tensor:
        """State after the observation; rows without observation or input are returned as they are."""
        is_seen = (observation.mask > 0).any(dim=1, keepdim=True)
        if observation.inputs is not None:
            is_seen = is_seen | (observation.inputs != 0).any(dim=1, keepdim=True)
        return self.jump(z, observation).where(is_seen, z)

"""Vector field some of whose coordinates stand still and are only read."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.dynamics.base import Dynamics
from tsode.errors import ParameterError

__all__ = ["WithStatic"]


class WithStatic(Dynamics):
    """Field of a state ``[z, theta]`` in which ``theta`` does not move: parameters of one series.

    Parameters
    ----------
    dynamics : Dynamics
        Of the whole state; its drift of the last `n_static` coordinates is not used.
    n_static : int
        Coordinates of ``theta``.
    """

    is_moving: Tensor

    def __init__(self, dynamics: Dynamics, n_static: int) -> None:
        super().__init__(dynamics.n_state)
        if not 0 <= n_static < dynamics.n_state:
            raise ParameterError(f"n_static={n_static} must leave some of n_state={dynamics.n_state} to move.")
        self.dynamics = dynamics
        self.n_static = n_static
        self.is_autonomous = dynamics.is_autonomous
        moving = torch.ones(dynamics.n_state)
        moving[dynamics.n_state - n_static :] = 0.0
        self.register_buffer("is_moving", moving)

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        return self.dynamics.drift(t, z) * self.is_moving

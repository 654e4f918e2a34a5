"""Penalty on a vector field: the base class, and what a member promises."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from tsode.dynamics.base import Dynamics
from tsode.errors import ParameterError

__all__ = ["Penalty"]


class Penalty(nn.Module, ABC):
    """Family of penalties on what a field does at the states that training visits.

    A penalty asks for a property where a structured field (`tsode.dynamics`) promises it: the weights stay free, and
    so does the field where no state has been. A member promises: no penalty is negative, and none is left where the
    property holds. It may have weights of its own, which are trained along and then forgotten.

    Parameters
    ----------
    n_moving, n_static : int
        Coordinates of the state that move, and those after them, which stand still.
    weight : float
        Beside the loss.
    n_states : int
        Visited states that are looked at for each batch, spread evenly over all of them.
    """

    def __init__(self, n_moving: int, n_static: int = 0, weight: float = 1.0, n_states: int = 64) -> None:
        super().__init__()
        if not 0.0 <= weight < float("inf") or n_states < 1:
            raise ParameterError(f"weight={weight!r} must not be negative, and n_states={n_states!r} at least 1.")
        self.n_moving = n_moving
        self.n_static = n_static
        self.weight = weight
        self.n_states = n_states

    @abstractmethod
    def forward(self, field: Dynamics, t: Tensor, z: Tensor) -> Tensor:
        """Penalty, a scalar without its weight, at the times ``t`` (b,) and states ``z`` (b d), which are constants."""

"""What a family of jumps at observations promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

__all__ = ["JumpMap", "Observation"]


@dataclass(frozen=True)
class Observation:
    """What is known at one event of each row.

    Parameters
    ----------
    values : Tensor[b c]
        0 where not seen.
    mask : Tensor[b c], the values' dtype
        1 = seen, 0 = not.
    predicted : Tensor[b c p]
        What the state just before predicted: the location, and the log scale too for a jump with ``needs_scale``.
    """

    values: Tensor
    mask: Tensor
    predicted: Tensor


class JumpMap(nn.Module, ABC):
    """Change of state at an observation: ``z_plus = jump(z_minus, observation)``.

    A member promises: a row with nothing seen keeps its state bit for bit; unseen values are never read.

    Parameters
    ----------
    n_state, n_channels : int

    Attributes
    ----------
    needs_scale : bool
        Whether `jump` reads more of the prediction than its location.
    """

    needs_scale: bool = False

    def __init__(self, n_state: int, n_channels: int) -> None:
        super().__init__()
        self.n_state = n_state
        self.n_channels = n_channels

    @abstractmethod
    def jump(self, z: Tensor, observation: Observation) -> Tensor:
        """State after the observation, where at least one channel is seen: ``z`` (b d) -> (b d)."""

    def forward(self, z: Tensor, observation: Observation) -> Tensor:
        """State after the observation; rows that see nothing are returned as they are."""
        is_seen = (observation.mask > 0).any(dim=1, keepdim=True)
        return self.jump(z, observation).where(is_seen, z)

"""Vector field of the latent state: the base class, and what a member promises."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

__all__ = ["Dynamics", "Relaxing"]


class Dynamics(nn.Module, ABC):
    """Right-hand side of ``dz/dt = drift(t, z)``.

    A member promises: the drift of a row depends on that row alone.

    Parameters
    ----------
    n_state : int
        Width of the state.

    Attributes
    ----------
    is_autonomous : bool
        True when the drift does not read `t`; a shift of time then changes nothing.
    """

    is_autonomous: bool = True

    def __init__(self, n_state: int) -> None:
        super().__init__()
        self.n_state = n_state

    @abstractmethod
    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        """Rate of change of the state: ``t`` (b,) float64, ``z`` (b d) -> (b d)."""

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return self.drift(t, z)


class Relaxing(Dynamics):
    """Family of fields that pull every coordinate towards a target: ``drift = rate * (target - z)``.

    Both may depend on time and state. `tsode.numerics.ExponentialEuler` steps such a field without a limit on the
    length of the step.
    """

    @abstractmethod
    def relaxation(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Rate and target: ``t`` (b,) float64, ``z`` (b d) -> (b d), (b d)."""

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        rate, target = self.relaxation(t, z)
        return rate * (target - z)

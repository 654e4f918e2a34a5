"""The seam between models and numerics: carry each state from its own start time to its own end time.

A solver is one way to do it (`Solved`), a closed form another (`tsode.flows`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Evolution", "Evolved"]


@dataclass(frozen=True)
class Evolved:
    """Where an evolution ended.

    Parameters
    ----------
    z : Tensor[b d] or Tensor[b m d]
        State at the end time(s).
    cost : Tensor[b] or Tensor[b m]
        Integral kept along the way (a path KL, a compensator); zeros where there is none.
    status : Tensor[b], int64
        `tsode.core.status.Status` of each row.
    """

    z: Tensor
    cost: Tensor
    status: Tensor


class Evolution(nn.Module, ABC):
    """Family of evolutions of a latent state between events.

    A member promises: rows do not see each other; ``t0 == t1`` returns the state bit for bit; times are float64
    and only differences of them are cast to the state's dtype.

    Attributes
    ----------
    n_state : int
        Width of the state.
    runs_backward : bool
        Whether ``t1 < t0`` is allowed.
    """

    n_state: int
    runs_backward: bool = False

    @abstractmethod
    def evolve(self, z: Tensor, t0: Tensor, t1: Tensor) -> Evolved:
        """Carry ``z`` (b d) from ``t0`` (b,) to ``t1`` (b,)."""

    def evolve_to(self, z: Tensor, t0: Tensor, times: Tensor) -> Evolved:
        """Carry ``z`` (b d) from ``t0`` (b,) to each of a row's own ``times`` (b m): states (b m d).

        Each answer depends on its own time only, never on which other times are asked for.
        """
        b, m = times.shape
        flat = self.evolve(
            z[:, None].expand(b, m, -1).reshape(b * m, -1), t0[:, None].expand(b, m).reshape(-1), times.reshape(-1)
        )
        status = flat.status.reshape(b, m).amax(dim=1) if m else torch.zeros_like(t0, dtype=torch.int64)
        return Evolved(flat.z.reshape(b, m, -1), flat.cost.reshape(b, m), status)

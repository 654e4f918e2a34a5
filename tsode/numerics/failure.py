"""Failures of solves with steps of their own choice: which kind it was, and where each row failed first."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.core.status import Status
from tsode.numerics.base import VectorField

__all__ = ["FirstFailure", "kind_of_stop"]

_TIMES_SHORTEST = 1e4  # of the shortest step: a state that changes by its own size within that has a pole there
_HUGE = 0.4  # power of the largest number: beyond, products of two states are near overflow


@torch.no_grad()
def kind_of_stop(
    field: VectorField, t: Tensor, z: Tensor, direction: Tensor, shortest: Tensor, is_finite: Tensor, atol: float
) -> Tensor:
    """Status (b,) of rows that no step is short enough for.

    Parameters
    ----------
    t, direction, shortest : Tensor[b], float64
        Where they stand, the sign of their steps, and the length below which the time does not move.
    z : Tensor[b d]
        Their last states.
    is_finite : Tensor[b], bool
        Whether the last attempt was finite, and only its error too large.
    atol : float
        What is nothing beside a state.
    """
    slope = direction.to(z)[:, None] * field(t, z)
    is_pole = (slope * z.sign() * (_TIMES_SHORTEST * shortest).to(z)[:, None] > z.abs() + atol).any(dim=1)
    is_huge = z.abs().amax(dim=1) > torch.finfo(z.dtype).max ** _HUGE
    status = torch.where(is_finite, int(Status.STEP_TOO_SMALL), int(Status.UNDEFINED))
    return torch.where(is_pole | is_huge, int(Status.BLOW_UP), status)


@dataclass(frozen=True)
class FirstFailure:
    """Where each row of a solve in several stretches failed first: when (b,), the state there (b d), its status."""

    t: Tensor
    z: Tensor
    status: Tensor

    def then(self, status: Tensor, t: Tensor, z: Tensor, times: Tensor, states: Tensor) -> FirstFailure:
        """With one more stretch; rows that failed before stay as they are.

        Parameters
        ----------
        status, t : Tensor[b]
            How the stretch went, and to when it came.
        z : Tensor[b d]
            State at its end; that of a stretch without an end is the last one read.
        times, states : Tensor[b n], Tensor[b n d]
            When it was read, and what.
        """
        is_new = (self.status == Status.OK) & (status != Status.OK)
        if not is_new.any():
            return self
        if times.shape[1]:
            latest, place = times.max(dim=1)
            read = states[torch.arange(len(z), device=z.device), place]
            z = torch.where((latest >= t)[:, None], read, z)
        return FirstFailure(
            torch.where(is_new, t, self.t).detach(),
            torch.where(is_new[:, None], z, self.z).detach(),
            torch.where(is_new, status, self.status),
        )

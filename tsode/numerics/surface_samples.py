"""Samples of surface functions at many points of each row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tsode.numerics.surfaces import Trigger, as_signed

__all__ = ["SurfaceSampler"]


class SurfaceSampler:
    """Evaluates the surface functions of events at several times and states of each row.

    They are called with the rows as they are, so they may hold a tensor for each row: all points at once under
    `torch.func.vmap`, or, where a function does what that cannot follow, once for each point.
    """

    def __init__(self, events: Sequence[Trigger]) -> None:
        self._events = events
        self._is_mapped = [True] * len(events)

    def __call__(self, t: Tensor, z: Tensor) -> Tensor:
        """Values (b s e), float64, at times (b s) and states (b s d)."""
        return torch.stack([self._values(k, event, t, z) for k, event in enumerate(self._events)], dim=2)

    def _values(self, k: int, event: Trigger, t: Tensor, z: Tensor) -> Tensor:
        if self._is_mapped[k]:
            try:
                return as_signed(torch.func.vmap(event.surface, in_dims=1, out_dims=1)(t, z))
            except Exception:  # branches, numpy, changes in place, ...: what is an error in itself is raised below
                self._is_mapped[k] = False
        return torch.stack([as_signed(event.surface(*point)) for point in zip(t.unbind(1), z.unbind(1))], dim=1)

"""Scratch memory that outlives a training step."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Workspace", "borrow", "give_back"]

_MAX_IDLE = 4  # a training step holds three: one for the events, one for the forecast, one for the backcast
_MAX_CUTS = 256  # a pass needs some twenty; batches differ in length

_idle: dict[tuple[torch.dtype, torch.device], list[Workspace]] = {}


class Workspace:
    """Buffers handed out in the order asked for, the same memory again after each `give_back`.

    Fresh pages cost more than the arithmetic done in them. A buffer grows to the largest size ever asked for in its
    place in the order; its content at first is what the last user left.
    """

    def __init__(self, like: Tensor) -> None:
        self.key = like.dtype, like.device
        self._flat: list[Tensor] = []
        self._cuts: dict[tuple, list[Sequence[Tensor]]] = {}
        self._n_used = 0

    def new(self, *shape: int) -> Tensor:
        """A buffer of this shape, uninitialised."""
        size = math.prod(shape)
        if self._n_used == len(self._flat):
            self._flat.append(self._empty(0))
        if self._flat[self._n_used].numel() < size:
            self._flat[self._n_used] = self._empty(size)
            self._cuts.clear()
        self._n_used += 1
        return self._flat[self._n_used - 1][:size].view(shape)

    def cut(self, block: Tensor, *widths: int) -> list[Sequence[Tensor]]:
        """Cut a buffer along its last axis into parts of these widths, and each part along its first axis.

        A view costs as much as a small operation, therefore they are kept for the next pass.
        """
        key = (block.data_ptr(), block.shape, block.stride(), widths)
        if key not in self._cuts:
            if len(self._cuts) >= _MAX_CUTS:
                self._cuts.clear()
            with torch.inference_mode(False):
                self._cuts[key] = [part.unbind() for part in block.split(widths or block.shape[-1], dim=-1)]
        return self._cuts[key]

    @property
    def size(self) -> int:
        """Numbers it has room for."""
        return sum(flat.numel() for flat in self._flat)

    def _empty(self, size: int) -> Tensor:
        with torch.inference_mode(False):  # a prediction's memory must serve a training step too
            return torch.empty(size, dtype=self.key[0], device=self.key[1])


def borrow(like: Tensor) -> Workspace:
    """The largest workspace of the dtype and device of `like` that nobody uses, or a new one."""
    idle = _idle.setdefault((like.dtype, like.device), [])
    return idle.pop() if idle else Workspace(like)


def give_back(workspace: Workspace) -> None:
    """Return a workspace; its buffers must not be read any more."""
    workspace._n_used = 0
    idle = _idle.setdefault(workspace.key, [])
    insort(idle, workspace, key=lambda other: other.size)
    del idle[:-_MAX_IDLE]

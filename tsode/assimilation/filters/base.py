"""Filters: what a member promises, and what it is told on its way along a series."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from tsode.assimilation.motion import Draws, Motion, Seen, Start

__all__ = ["Ahead", "Filter", "where_rows"]

Belief = TypeVar("Belief", bound=tuple[Any, ...])


@dataclass(frozen=True)
class Ahead:
    """What will be seen next, for filters that steer towards it.

    Parameters
    ----------
    gap : Tensor[r], float64
        From the start of a step to that time.
    seen : list of Seen
        By channel, at that time.
    """

    gap: Tensor
    seen: list[Seen]


@dataclass(frozen=True)
class Filter(ABC, Generic[Belief]):
    """What is known of the states of ``r`` rows, carried along time: settings only, no memory between calls.

    A belief is a NamedTuple of tensors whose first axis is that of the rows. A member promises: rows do not see each
    other; a row with a step of zero, or without a value, comes back bit for bit; nothing is raised from inside: a row
    that has left the range of numbers is not finite, and its evidence is -inf; missing cells are never read; what is
    random comes from `Draws` alone, so that the same question has the same answer.

    Attributes
    ----------
    is_random : bool
        Whether answers depend on `Draws`.
    is_smooth : bool
        Whether the log evidence can be differentiated by what the motion and the noise are made of.
    n_members : int
        Of a row, by which memory goes.
    """

    is_random: ClassVar[bool] = False
    is_smooth: ClassVar[bool] = True

    @property
    def n_members(self) -> int:
        return 1

    @abstractmethod
    def start(self, start: Start, motion: Motion, t: Tensor, draws: Draws) -> Belief:
        """What is known before any data, at times ``t`` (r,)."""

    @abstractmethod
    def flow(
        self, belief: Belief, motion: Motion, t: Tensor, h: Tensor, draws: Draws, ahead: Ahead | None = None
    ) -> Belief:
        """Carry a belief over one step ``h`` (r,) from ``t`` (r,)."""

    @abstractmethod
    def change(self, belief: Belief, factor: Tensor, shift: Tensor) -> Belief:
        """Apply an event, ``z -> factor * z + shift``, each (r d): doses, settings and resets are such."""

    @abstractmethod
    def observe(self, belief: Belief, seen: Seen, t: Tensor, draws: Draws) -> tuple[Belief, Tensor]:
        """Condition on a channel's value at ``t`` (r,); with the log evidence (r,) of the value, 0 where none was seen.

        Channels that are seen at one time come one after the other.
        """

    def mark(self, belief: Belief) -> Belief:
        """Remember, from here on, how what follows goes back to this belief: smoothers look back by that."""
        return belief

    @abstractmethod
    def members(self, belief: Belief, n: int, t: Tensor, draws: Draws) -> Tensor:
        """Equally weighted states (r n d), by which any question is answered."""


def where_rows(is_changed: Tensor, after: Belief, before: Belief) -> Belief:
    """Of two beliefs, the first in rows (r,) that have changed."""
    parts = (torch.where(is_changed.reshape(-1, *[1] * (new.dim() - 1)), new, old) for new, old in zip(after, before))
    return type(after)(*parts)

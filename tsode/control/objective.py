"""Objectives and requirements of a plan: what each promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from torch import Tensor

from tsode.control.scene import Scene

__all__ = ["Kept", "Objective", "Requirement"]


@dataclass(frozen=True)
class Kept:
    """A probability that was asked for, and the one that a plan has.

    Parameters
    ----------
    what : str
    stated, planned : float
    is_most : bool
        Whether the stated one is the most, rather than the least, that is asked for.
    """

    what: str
    stated: float
    planned: float
    is_most: bool

    @property
    def is_kept(self) -> bool:
        return self.planned <= self.stated + 1e-12 if self.is_most else self.planned >= self.stated - 1e-12


class Objective(ABC):
    """What a plan makes small."""

    @property
    def stages(self) -> tuple[float | None, ...]:
        """How sharp the score is in the stages of a search, one after the other; the last is the objective."""
        return (None,)

    @abstractmethod
    def score(self, scene: Scene, sharpness: float | None) -> Tensor:
        """Number (q,) of each candidate that is to be small, smooth in paths and amounts."""

    @abstractmethod
    def exact(self, scene: Scene) -> Tensor:
        """Number (q,) of each candidate by which plans are compared at the end."""

    def names(self) -> Sequence[Hashable]:
        """Channels or states that are looked at, as far as they are named."""
        return ()

    def kept(self, scene: Scene) -> Kept | None:
        """The probability that it states, of the first candidate; None if it states none."""
        return None


class Requirement(ABC):
    """What a plan has to keep."""

    @abstractmethod
    def excess(self, scene: Scene, is_smooth: bool) -> Tensor:
        """By how much (q,) each candidate fails to keep it, in numbers of order one; at most 0 where it is kept."""

    @abstractmethod
    def kept(self, scene: Scene) -> Kept:
        """The probability that it states, and that of the first candidate."""

"""Problem of a plan: what is to be small and what has to be kept, as numbers of the candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tsode.control.objective import Kept, Objective, Requirement
from tsode.control.response import Response
from tsode.control.scene import Scene
from tsode.control.slots import Slots

__all__ = ["Candidate", "Problem", "Worth"]

MOST_NUMBERS = 2**23  # of paths that are judged at once


@dataclass(frozen=True, eq=False)
class Candidate:
    """Amounts (k,) of all slots, by how much (k,) each is moved, and which (k,) may be used."""

    amounts: np.ndarray
    shifts: np.ndarray
    is_used: np.ndarray


@dataclass(frozen=True)
class Worth:
    """By how much the worst requirement is missed, 0 if all are kept, and the score: in this order, small is good."""

    excess: float
    score: float

    def is_better(self, other: Worth) -> bool:
        return (self.excess, self.score) < (other.excess - 1e-12, other.score) or (
            self.excess <= other.excess + 1e-12 and self.score < other.score - 1e-12
        )


@dataclass(frozen=True, eq=False)
class Problem:
    """Objective, requirements, and the response of the system to candidates.

    Parameters
    ----------
    response : Response
    objective : Objective
    requirements : sequence of Requirement
    slots : Slots
    margins : array[r]
        What is added to the excess of each requirement while a search goes on, which sees smooth ones.
    """

    response: Response
    objective: Objective
    requirements: Sequence[Requirement]
    slots: Slots
    margins: np.ndarray

    def by(self, response: Response) -> Problem:
        """The same with another response."""
        return replace(self, response=response)

    def tightened(self, more: np.ndarray) -> Problem:
        """The same with larger margins."""
        return replace(self, margins=self.margins + more)

    def smooth(self, scene: Scene, sharpness: float | None) -> tuple[Tensor, Tensor]:
        """Score (q,) and excesses (q r) that a search sees."""
        excess = [one.excess(scene, True) + margin for one, margin in zip(self.requirements, self.margins)]
        none = scene.amounts.new_zeros(len(scene.amounts), 0)
        return self.objective.score(scene, sharpness), torch.stack(excess, dim=1) if excess else none

    def excesses(self, scene: Scene) -> np.ndarray:
        """Excesses (q r) that are reported."""
        found = [one.excess(scene, False) for one in self.requirements]
        return torch.stack(found, dim=1).numpy() if found else np.zeros((len(scene.amounts), 0))

    @torch.no_grad()
    def worths(self, amounts: np.ndarray, shifts: np.ndarray | None = None) -> list[Worth]:
        """What candidates (q k) are worth."""
        found = []
        width = max(1, MOST_NUMBERS // (self.response.n_draws * len(self.response.clock.times)))
        for first in range(0, len(amounts), width):
            part = slice(first, first + width)
            moved = None if shifts is None else torch.from_numpy(shifts[part])
            scene = self.response.scene(torch.from_numpy(amounts[part]), moved)
            score = self.objective.exact(scene).nan_to_num(nan=np.inf).numpy()
            excess = np.nan_to_num(self.excesses(scene), nan=np.inf).max(axis=1, initial=0.0)
            excess = np.maximum(excess, self._over(amounts[part]))
            found += [Worth(float(e), float(x)) for e, x in zip(excess, score)]
        return found

    def worth(self, candidate: Candidate) -> Worth:
        """What one candidate is worth."""
        moved = candidate.shifts[None] if self.slots.shift.any() else None
        return self.worths(candidate.amounts[None], moved)[0]

    @torch.no_grad()
    def kept(self, candidate: Candidate) -> list[Kept]:
        """Every probability that was stated, and that of a candidate."""
        moved = torch.from_numpy(candidate.shifts)[None] if self.slots.shift.any() else None
        scene = self.response.scene(torch.from_numpy(candidate.amounts)[None], moved)
        own = self.objective.kept(scene)
        return ([] if own is None else [own]) + [one.kept(scene) for one in self.requirements]

    def _over(self, amounts: np.ndarray) -> np.ndarray:
        """By how much (q,) candidates pass limits on what is given in a stretch of time."""
        rows, ends = self.slots.limits()
        if not len(ends):
            return np.zeros(len(amounts))
        size = np.maximum(np.abs(ends), rows @ self.slots.scale())
        over = (amounts @ rows.T - ends) / size
        return np.where(over > 1e-9, over, 0.0).max(axis=1)

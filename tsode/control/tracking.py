"""Tracking: a channel near a given path."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsode.control.expected_cost import effort_of
from tsode.control.objective import Objective
from tsode.control.scene import Scene
from tsode.errors import ShapeError

__all__ = ["Tracking"]


@dataclass(frozen=True)
class Tracking(Objective):
    """Mean squared distance of channels from what each should be, over draws and time, and the effort of the actions.

    Parameters
    ----------
    targets : dict of channel to number, array[m] or callable
        A number for all times of the plan, one for each, or a function of the time since the plan began (m,) -> (m,),
        with times as in `ExpectedCost`.
    weights : dict of channel to float, optional
        Of each channel; 1 where nothing is said.
    effort : float or callable
        As in `ExpectedCost`.

    Examples
    --------
    >>> from tsode.control import Tracking
    >>> Tracking({"temperature": lambda hours: 20.0 + hours}, effort=1e-3).effort
    0.001
    """

    targets: Mapping[Hashable, Any]
    weights: Mapping[Hashable, float] | None = None
    effort: float | Callable[[Tensor], Tensor] = 0.0

    def names(self) -> Sequence[Hashable]:
        return tuple(self.targets)

    def score(self, scene: Scene, sharpness: float | None = None) -> Tensor:
        total = effort_of(self.effort, scene.amounts)
        weights = self.weights or {}
        for name, given in self.targets.items():
            off = scene.channel(name) - self._target(given, scene, name)
            mean = (off.square() * scene.clock.weights).sum(dim=-1).mean(dim=-1)
            total = total + weights.get(name, 1.0) * mean
        return total

    def exact(self, scene: Scene) -> Tensor:
        return self.score(scene)

    @staticmethod
    def _target(given: Any, scene: Scene, name: Hashable) -> Tensor:
        elapsed = scene.clock.elapsed
        if callable(given):
            given = given(elapsed)
        target = torch.as_tensor(np.asarray(given) if not isinstance(given, Tensor) else given, dtype=elapsed.dtype)
        if target.dim() and target.shape != elapsed.shape:
            raise ShapeError(
                f"The target of {name!r} has {tuple(target.shape)} numbers, but the plan has {len(elapsed)} times: "
                "give one for each, one for all, or a function of time."
            )
        return target

"""Expected cost of paths, with the effort of doses."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tsode.control.objective import Objective
from tsode.control.scene import Scene
from tsode.errors import ParameterError, ShapeError

__all__ = ["ExpectedCost", "effort_of"]


@dataclass(frozen=True)
class ExpectedCost(Objective):
    """Mean over the draws of what a path costs, and the effort of the actions.

    Parameters
    ----------
    cost : callable, optional
        ``(paths, times)`` -> the cost (s,) of each path: paths are a tensor (s m c) in the data's units, channels in
        the order of `channels`, and times (m,) count from the beginning of the plan, in the data's numbers, or in units
        of the model where times are a clock's. By operations of torch, so that it has a gradient.
    effort : float or callable
        Weight of the sum of squared amounts, or ``(amounts)`` (k,) -> a number.
    channels : list of label, optional
        That `cost` reads; by default all of the forecaster.

    Examples
    --------
    >>> from tsode.control import ExpectedCost
    >>> at_the_end = ExpectedCost(lambda paths, times: paths[:, -1, 0].square(), effort=0.1)
    >>> at_the_end.effort
    0.1
    """

    cost: Callable[[Tensor, Tensor], Tensor] | None = None
    effort: float | Callable[[Tensor], Tensor] = 0.0
    channels: list[Hashable] | None = None

    def __post_init__(self) -> None:
        if self.cost is None and not callable(self.effort) and self.effort == 0.0:
            raise ParameterError("ExpectedCost has neither cost= nor effort=: give one.")

    def names(self) -> Sequence[Hashable]:
        return self.channels or ()

    def score(self, scene: Scene, sharpness: float | None = None) -> Tensor:
        total = effort_of(self.effort, scene.amounts)
        if self.cost is None:
            return total
        paths = scene.paths
        if self.channels is not None:
            paths = torch.stack([scene.channel(name) for name in self.channels], dim=-1)
        q, s = paths.shape[:2]
        cost: Any = self.cost(paths.flatten(0, 1), scene.clock.elapsed)
        if not isinstance(cost, Tensor) or cost.shape != (q * s,):
            shape = tuple(cost.shape) if isinstance(cost, Tensor) else type(cost).__name__
            raise ShapeError(
                f"cost= gave {shape} for {q * s} paths (s m c): give one number for each, a tensor ({q * s},), as "
                "paths[:, -1, 0] does."
            )
        return total + cost.reshape(q, s).mean(dim=1)

    def exact(self, scene: Scene) -> Tensor:
        return self.score(scene)


def effort_of(effort: float | Callable[[Tensor], Tensor], amounts: Tensor) -> Tensor:
    """Effort (q,) of amounts (q k)."""
    if callable(effort):
        return torch.stack([torch.as_tensor(effort(of_one), dtype=amounts.dtype) for of_one in amounts])
    return effort * amounts.square().sum(dim=1)

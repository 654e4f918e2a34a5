"""Target range: a channel within two limits, with a stated probability."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsode.control.objective import Kept, Objective, Requirement
from tsode.control.risk import largest
from tsode.control.scene import Scene
from tsode.errors import ParameterError

__all__ = ["TargetRange"]

_STAGES = (None, 0.1, 0.02)  # of the width of the range: over how much being inside goes from 0 to 1


@dataclass(frozen=True)
class TargetRange(Objective, Requirement):
    """A channel kept within a range: as objective as surely as can be, as constraint with the stated probability.

    A search first makes the mean squared distance from the range small, which is convex where doses act linearly, and
    then the probability of being outside, with a logistic curve at either limit that gets steeper. What is reported is
    the share of the draws itself.

    Parameters
    ----------
    channel : label
    low, high : float
        Either may be infinite.
    probability : float
        The least that is asked for.
    between : two times, optional
        The window in which it counts; None in place of either is the end of the plan. By default always.
    of : {"time", "path"}
        Whether the probability is that of a moment of the window, taken at random, or of a path, all of whose times in
        the window lie within the range.

    Examples
    --------
    >>> from tsode.control import TargetRange
    >>> TargetRange("concentration", 10.0, 20.0, probability=0.8).of
    'time'
    """

    channel: Hashable
    low: float = -np.inf
    high: float = np.inf
    probability: float = 0.9
    between: Any = None
    of: str = "time"

    def __post_init__(self) -> None:
        if not self.low < self.high or not np.isfinite([self.low, self.high]).any():
            raise ParameterError(f"TargetRange has low={self.low!r} and high={self.high!r}: low must be less.")
        if not 0.0 < self.probability <= 1.0:
            raise ParameterError(f"probability={self.probability!r} of TargetRange must lie in (0, 1].")
        if self.of not in ("time", "path"):
            raise ParameterError(f"of={self.of!r} of TargetRange must be 'time' or 'path'.")

    @property
    def stages(self) -> tuple[float | None, ...]:
        return _STAGES

    def names(self) -> Sequence[Hashable]:
        return (self.channel,)

    def score(self, scene: Scene, sharpness: float | None) -> Tensor:
        inside, weights = self._inside(scene)
        if sharpness is None:
            outside = (-inside).clamp(min=0.0).square()
            return (outside * weights).sum(dim=-1).mean(dim=-1)
        return 1.0 - self._share(torch.sigmoid(inside / sharpness), inside, weights, sharpness)

    def exact(self, scene: Scene) -> Tensor:
        return 1.0 - self._planned(scene)

    def excess(self, scene: Scene, is_smooth: bool) -> Tensor:
        if not is_smooth:
            return self.probability - self._planned(scene)
        sharpness = _STAGES[-1]
        assert sharpness is not None
        inside, weights = self._inside(scene)
        return self.probability - self._share(torch.sigmoid(inside / sharpness), inside, weights, sharpness)

    def kept(self, scene: Scene) -> Kept:
        what = f"{self.channel} in {self.low:g} to {self.high:g}" + (", whole paths" if self.of == "path" else "")
        return Kept(what, self.probability, float(self._planned(scene)[0]), is_most=False)

    def _planned(self, scene: Scene) -> Tensor:
        inside, weights = self._inside(scene)
        return self._share((inside >= 0.0).to(inside), inside, weights, None)

    def _inside(self, scene: Scene) -> tuple[Tensor, Tensor]:
        """How far (q s m) inside the range, in widths of it, at the times of the window; and weights (m,) of these."""
        x, is_in = scene.channel(self.channel), scene.clock.window(self.between)
        x, weights = x[..., is_in], scene.clock.weights[is_in]
        width = self.high - self.low
        if not np.isfinite(width):
            finite = self.low if np.isfinite(self.low) else self.high
            width = abs(finite) or 1.0
        return torch.minimum(x - self.low, self.high - x) / width, weights / weights.sum()

    def _share(self, is_inside: Tensor, inside: Tensor, weights: Tensor, sharpness: float | None) -> Tensor:
        """Share (q,) of moments or of paths, of how much (q s m) each moment is inside."""
        if self.of == "time":
            return (is_inside * weights).sum(dim=-1).mean(dim=-1)
        worst = -largest(-inside, sharpness is not None)
        whole = (worst >= 0.0).to(inside) if sharpness is None else torch.sigmoid(worst / sharpness)
        return whole.mean(dim=-1)

"""Chance limit: a channel that passes a limit with a small probability at most."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tsode.control.objective import Kept, Requirement
from tsode.control.risk import check_risk, largest, tail
from tsode.control.scene import Scene
from tsode.errors import ParameterError

__all__ = ["ChanceLimit"]


@dataclass(frozen=True)
class ChanceLimit(Requirement):
    """A limit that is passed with a stated probability at most: ``P(channel > above) <= probability``.

    Parameters
    ----------
    channel : label
    above, below : float
        The limit: just one of the two, by the side that is to be avoided.
    probability : float
        The most that is allowed.
    by : {"quantile", "shortfall"}
        Whether the share of the draws that pass the limit is limited, or the mean of that share of worst draws may not
        pass it, which is stricter, looks at how far they pass, and is smooth.
    at : {"any", "each"}
        Whether a path passes the limit if it does so at any of the times of the plan, or each time is judged by itself.
    between : two times, optional
        As in `TargetRange`.

    Examples
    --------
    >>> from tsode.control import ChanceLimit
    >>> ChanceLimit("concentration", above=20.0, probability=0.05).at
    'any'
    """

    channel: Hashable
    above: float | None = None
    below: float | None = None
    probability: float = 0.05
    by: str = "quantile"
    at: str = "any"
    between: Any = None

    def __post_init__(self) -> None:
        if (self.above is None) == (self.below is None):
            raise ParameterError("ChanceLimit takes just one of above= and below=.")
        if not 0.0 <= self.probability < 1.0:
            raise ParameterError(f"probability={self.probability!r} of ChanceLimit must lie in [0, 1).")
        check_risk(self.by, "ChanceLimit")
        if self.at not in ("any", "each"):
            raise ParameterError(f"at={self.at!r} of ChanceLimit must be 'any' or 'each'.")

    @property
    def _limit(self) -> float:
        limit = self.above if self.above is not None else self.below
        assert limit is not None
        return float(limit)

    def excess(self, scene: Scene, is_smooth: bool) -> Tensor:
        beyond = self._beyond(scene) / (abs(self._limit) or 1.0)
        if self.at == "any":
            return tail(largest(beyond, is_smooth), self.probability, self.by, is_smooth)
        return largest(tail(beyond.transpose(1, 2), self.probability, self.by, is_smooth), is_smooth)

    def kept(self, scene: Scene) -> Kept:
        is_beyond = self._beyond(scene)[0] > 0.0
        planned = is_beyond.any(dim=1).double().mean() if self.at == "any" else is_beyond.double().mean(dim=0).amax()
        side = f"above {self.above:g}" if self.above is not None else f"below {self.below:g}"
        when = "at any time" if self.at == "any" else "at the worst time"
        return Kept(f"{self.channel} {side} {when}", self.probability, float(planned), is_most=True)

    def _beyond(self, scene: Scene) -> Tensor:
        """How far (q s m) beyond the limit."""
        x = scene.channel(self.channel)[..., scene.clock.window(self.between)]
        return x - self._limit if self.above is not None else self._limit - x

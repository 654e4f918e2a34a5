"""Known paths: what is known along time of every series, such as weather or an inflow, as rates read it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tsode._checks import check_shapes
from tsode.core.scheduled_events import EventKind, ScheduledEvents
from tsode.errors import DataError

__all__ = ["KnownPaths", "Stages", "Steps", "with_marks"]

_SAME = 1e-12  # of the largest value: by how much a line may bend at a knot that is none


class Stages(ABC):
    """Numbers of rows (r,) as a function of the time of each, parts of which change at stops of a solver alone."""

    def __call__(self, t: Tensor) -> dict[str, Tensor]:
        return self.during(t)(t)

    @abstractmethod
    def during(self, t: Tensor) -> Callable[[Tensor], dict[str, Tensor]]:
        """The same from times (r,) up to the next stop."""


@dataclass(frozen=True)
class Steps(Stages):
    """Numbers that stay as they are from stop to stop."""

    at: Callable[[Tensor], dict[str, Tensor]]

    def during(self, t: Tensor) -> Callable[[Tensor], dict[str, Tensor]]:
        held = self.at(t)
        return lambda later: held


@dataclass(frozen=True, eq=False)
class KnownPaths:
    """Paths of ``q`` inputs for ``n`` series: straight between knots, where they may bend and jump.

    At a knot stands what holds from there on.

    Parameters
    ----------
    names : tuple of str
    times : Tensor[n k], float64
        Knots, increasing; padding is infinite.
    values, slopes : Tensor[n k q], float64
        At each knot, and from there to the next one.
    until : Tensor[n], float64
        Last time at which they are known, infinite where they hold for ever.
    """

    names: tuple[str, ...]
    times: Tensor
    values: Tensor
    slopes: Tensor
    until: Tensor

    def __post_init__(self) -> None:
        check_shapes(
            times=(self.times, "n k"), values=(self.values, "n k q"), slopes=(self.slopes, "n k q"),
            until=(self.until, "n"),
        )  # fmt: skip

    def select(self, rows: Tensor) -> KnownPaths:
        """Those of some of the series, by their places."""
        parts = {name: getattr(self, name)[rows] for name in ("times", "values", "slopes", "until")}
        return replace(self, **parts)

    @property
    def is_of_steps(self) -> bool:
        """Whether all stay as they are from knot to knot."""
        return not bool(self.slopes.any())

    def along(self, series: Tensor) -> Callable[[Tensor], dict[str, Tensor]]:
        """Inputs of rows that belong to the `series` (r,), as a function of the time (r,) of each: by name, (r,)."""
        knots, first = self.times[series].contiguous(), series * self.times.shape[1] - 1
        lines = torch.cat([self.times[..., None], self.values, self.slopes], dim=-1).flatten(0, 1)
        q = len(self.names)

        def at(t: Tensor) -> dict[str, Tensor]:
            place = torch.searchsorted(knots, t.detach()[:, None].contiguous(), right=True)[:, 0].clamp(min=1)
            line = lines[first + place]
            value = line[:, 1 : 1 + q] + line[:, 1 + q :] * (t - line[:, 0])[:, None]
            return dict(zip(self.names, value.unbind(-1)))

        return Steps(at) if self.is_of_steps else at

    def bends(self) -> Tensor:
        """Knots (n k) at which a path bends or jumps; infinite elsewhere."""
        gap = (self.times[:, 1:] - self.times[:, :-1]).nan_to_num(posinf=0.0)[..., None]
        size = self.values.abs().amax(dim=1, keepdim=True)
        jump = (self.values[:, 1:] - self.values[:, :-1] - self.slopes[:, :-1] * gap).abs()
        bend = (self.slopes[:, 1:] - self.slopes[:, :-1]).abs() * gap
        is_bend = (torch.maximum(jump, bend) > _SAME * size).any(dim=2)
        # before the first knot nothing is known
        return torch.where(torch.nn.functional.pad(is_bend, (1, 0), value=False), self.times, torch.inf)

    def check_start(self, ids: Sequence[object], start: Tensor) -> None:
        """Raise a DataError if a series starts (n,) before its inputs are known."""
        is_early = start < self.times[:, 0]
        if is_early.any():
            row = int(is_early.int().argmax())
            raise DataError(
                f"{', '.join(self.names)} of series {ids[row]!r} are known from {float(self.times[row, 0]):g} on, but "
                f"it starts at {float(start[row]):g}: say more of them."
            )

    def check_reach(self, ids: Sequence[object], times: Tensor) -> None:
        """Raise a DataError if any of the `times` (n m) lies beyond what is known."""
        is_beyond = times > self.until[:, None]
        if is_beyond.any():
            row = int(is_beyond.any(dim=1).int().argmax())
            raise DataError(
                f"{', '.join(self.names)} of series {ids[row]!r} are known up to {float(self.until[row]):g}, but "
                f"asked for at {float(times[row].max()):g}: say more of them."
            )


def with_marks(events: ScheduledEvents, times: Tensor) -> ScheduledEvents:
    """The events (n k), and marks at which a solver stops and nothing happens.

    Parameters
    ----------
    times : Tensor[n m], float64
        Infinite where there is no mark.
    """
    n = int(times.isfinite().sum(dim=1).max()) if times.numel() else 0
    if not n:
        return events
    times = times.sort(dim=1).values[:, :n]
    none = torch.zeros_like(times)
    whole = none.long()
    # a part of what comes before, so that none counts where events are counted
    marks = ScheduledEvents(
        times, whole + int(EventKind.MARK), whole, none, none, none, whole, none, torch.ones_like(whole).bool()
    )
    joined = {name: torch.cat([value, getattr(marks, name)], dim=1) for name, value in vars(events).items()}
    order = joined["time"].argsort(dim=1, stable=True)
    return ScheduledEvents(**{name: value.gather(1, order) for name, value in joined.items()})

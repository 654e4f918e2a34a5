"""Observed series: times, values and events as tensors, and the cells of each channel in one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsode._checks import check_shapes
from tsode.core.scheduled_events import ScheduledEvents
from tsode.errors import DataError
from tsode.inference.known_paths import KnownPaths
from tsode.inference.noise.base import Noise

__all__ = ["Cells", "Observations", "select_cells"]


@dataclass(frozen=True, eq=False)
class Observations:
    """Values of ``n`` series at times of their own.

    Parameters
    ----------
    ids : sequence
        Names of the series, for messages.
    start : Tensor[n], float64
        When each begins in its initial state, not after any of its times and events.
    times : Tensor[n m], float64
        Not decreasing along a series; padding repeats the last one.
    values : Tensor[n m c]
        Of the channels in the order of ``KnownSystem.observed``; NaN where nothing was seen.
    events : ScheduledEvents, optional
        Of each series, (n k).
    side : {"before", "after"} or Tensor[n m], int64
        As in `tsode.numerics.scheduled_events.solve_scheduled`.
    known : KnownPaths, optional
        Inputs along time that functions read as ``p.name``.
    static : mapping of str to array[n]
        Covariates of the series.
    """

    ids: Sequence[object]
    start: Tensor
    times: Tensor
    values: Tensor
    events: ScheduledEvents | None = None
    side: str | Tensor = "before"
    known: KnownPaths | None = None
    static: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_shapes(start=(self.start, "n"), times=(self.times, "n m"), values=(self.values, "n m c"))
        if self.times.shape[1] and (self.times < self.start[:, None]).any():
            row = int((self.times < self.start[:, None]).any(dim=1).int().argmax())
            raise DataError(
                f"Series {self.ids[row]!r} has a value at {float(self.times[row].min()):g}, before it starts at "
                f"{float(self.start[row]):g}: start it earlier."
            )

        if self.known is not None:
            self.known.check_start(self.ids, self.start)

    def select(self, rows: Tensor) -> Observations:
        """Some of the series, by their places."""
        events = self.events
        if events is not None:
            events = ScheduledEvents(**{name: value[rows] for name, value in vars(events).items()})
        side = self.side if isinstance(self.side, str) else self.side[rows]
        ids = [self.ids[k] for k in rows.tolist()]
        known = None if self.known is None else self.known.select(rows)
        static = {name: np.asarray(column)[rows.numpy()] for name, column in self.static.items()}
        return Observations(ids, self.start[rows], self.times[rows], self.values[rows], events, side, known, static)


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells in which a channel was seen, ``k`` of them.

    Parameters
    ----------
    series, column : Tensor[k], int64
        Where they stand.
    before : Tensor[k], int64
        Column in which the channel was last seen before; -1: never.
    values : Tensor[k], float64
    is_below, is_above : Tensor[k], bool
        Which lie beyond a limit of quantification.
    """

    series: Tensor
    column: Tensor
    before: Tensor
    values: Tensor
    is_below: Tensor
    is_above: Tensor


def select_cells(
    data: Observations, observed: Mapping[str, Noise], shown: Callable[[float], Any] = "{:g}".format
) -> dict[str, Cells]:
    """Cells of each channel; `shown` is how an error writes a time.

    Raises
    ------
    DataError
        If a value cannot come from the noise of its channel; it names the series and the time.
    """
    if data.values.shape[2] != len(observed):
        raise DataError(f"There are values of {data.values.shape[2]} channels, but observed= has {len(observed)}.")
    return {channel: _cells_of(data, k, channel, noise, shown) for k, (channel, noise) in enumerate(observed.items())}


def _cells_of(data: Observations, k: int, channel: str, noise: Noise, shown: Callable[[float], Any]) -> Cells:
    values = data.values[:, :, k].double()
    is_seen = ~values.isnan()
    series, column = is_seen.nonzero(as_tuple=True)
    seen = values[series, column]
    is_below, is_above = noise.is_below(seen), noise.is_above(seen)
    is_strange = ~(is_below | is_above | noise.is_supported(seen))
    if is_strange.any():
        at = int(is_strange.int().argmax())
        where: Any = data.ids[int(series[at])]
        raise DataError(
            f"Channel {channel!r} of series {where!r} is {float(seen[at]):g} at time "
            f"{shown(float(data.times[series[at], column[at]]))}, but {type(noise).__name__} is of {noise.support} "
            f"({int(is_strange.sum())} such values): leave the cell empty, set a limit of quantification (below=), or "
            "take another noise."
        )
    # the running maximum of the columns seen so far, moved on by one
    places = torch.arange(values.shape[1]).expand(values.shape).where(is_seen, -1)
    running = places.cummax(dim=1).values if values.shape[1] else places
    before = torch.cat([torch.full_like(running[:, :1], -1), running[:, :-1]], dim=1)[series, column]
    return Cells(series, column, before, seen, is_below & ~is_above, is_above)

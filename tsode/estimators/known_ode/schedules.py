"""Schedules of doses: events of a table as numbers that lose nothing, and back as what a solver takes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode.core.scheduled_events import ScheduledEvents
from tsode.core.timeline import Timeline
from tsode.errors import DataError
from tsode.frames.inputs import DosingInputs, EventEncoder
from tsode.frames.schedule import SCHEDULE_COLUMNS, schedule_columns

__all__ = ["ScheduleEncoder", "event_rows", "scheduled"]

_WHOLE = ("kind", "target", "steady_state")
_ENDLESS = -1.0  # a duration without end, in a file of finite numbers


@dataclass(frozen=True)
class ScheduleEncoder(EventEncoder):
    """Columns of `SCHEDULE_COLUMNS` for every event, in units of model time.

    Parameters
    ----------
    states : tuple of label
    unit : float, np.timedelta64
        One unit of model time, in native time.
    """

    states: tuple[Hashable, ...] = ()
    unit: Any = 1.0

    @classmethod
    def of(cls, states: Sequence[Hashable], unit: Any) -> ScheduleEncoder:
        """The encoder of these states."""
        columns = tuple(("event", name, "amount") for name in SCHEDULE_COLUMNS)
        return cls(columns, (1.0,) * len(columns), states=tuple(states), unit=unit)

    def encode(self, rows: pd.DataFrame) -> dict[Hashable, DosingInputs]:
        is_empty = ((rows["kind"] == "mark") & rows["target"].notna()).to_numpy()
        if is_empty.any():
            key, at, target = (rows[name].iat[int(is_empty.argmax())] for name in ("id", "time", "target"))
            raise DataError(
                f"An event of series {key!r} at {at!s} is of {target!r}, but has no amount: fill it in, or drop "
                "the row (or its target, if it only marks a time)."
            )
        table = schedule_columns(rows, self.states, self.unit)
        table["duration"] = table["duration"].replace(np.inf, _ENDLESS)
        return {
            key: DosingInputs(of_series["time"].to_numpy(), of_series[list(SCHEDULE_COLUMNS)].to_numpy())
            for key, of_series in table.groupby("id", sort=False)
        }

    def to_dict(self) -> dict[str, Any]:
        return {"is_schedule": True}


def scheduled(inputs: Sequence[DosingInputs | None], timeline: Timeline) -> ScheduledEvents:
    """Events of some series in model time, a row each, filled up with marks at an infinite time."""
    n_most = max((len(one.times) for one in inputs if one is not None), default=0)
    time = np.full((len(inputs), n_most), np.inf)
    numbers = np.zeros((len(inputs), n_most, len(SCHEDULE_COLUMNS)))
    for row, one in enumerate(inputs):
        if one is not None and len(one.times):
            time[row, : len(one.times)] = timeline.to_model(one.times)
            numbers[row, : len(one.times)] = one.values
    parts: dict[str, Tensor] = dict(zip(SCHEDULE_COLUMNS, torch.from_numpy(numbers).unbind(-1)))
    parts["duration"] = torch.where(parts["duration"] == _ENDLESS, torch.inf, parts["duration"])
    for name in _WHOLE:
        parts[name] = parts[name].long()
    return ScheduledEvents(time=torch.from_numpy(time), **parts | {"is_part": parts["is_part"].bool()})


def event_rows(events: ScheduledEvents, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Times and numbers of the events of one row, as `ScheduleEncoder` has them."""
    is_there = events.time[row].isfinite()
    columns = [getattr(events, name)[row].double() for name in SCHEDULE_COLUMNS]
    columns[3] = torch.where(columns[3].isinf(), _ENDLESS, columns[3])
    return events.time[row][is_there].numpy(), torch.stack(columns, dim=-1)[is_there].numpy()

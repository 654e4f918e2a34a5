"""Observations of fit with a history beside them: where draws of fit do not stand for both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tsode.core.scheduled_events import ScheduledEvents
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.known_ode.conditioned import Ask
from tsode.estimators.known_ode.histories import observations
from tsode.inference.known_paths import KnownPaths
from tsode.inference.observations import Observations

__all__ = ["beside"]


def beside(data: Observations, ask: Ask, reader: DataReader) -> Observations:
    """The series of fit, and a history: what it has in addition to its rows in fit, or as one more series."""
    one = ask.history
    if one.key not in data.ids:
        return _joined(data, observations([one], reader))
    row = list(data.ids).index(one.key)
    seen = ~data.values[row].isnan().all(dim=1)
    new = one.rows(~ask.known)
    times = np.concatenate([data.times[row][seen].numpy(), new.times])
    values = np.concatenate([data.values[row][seen].numpy(), new.values])
    order = times.argsort(kind="stable")
    whole = observations([replace(one, times=times[order], values=values[order])], reader)
    others = torch.tensor([place for place in range(len(data.ids)) if place != row], dtype=torch.long)
    return _joined(data.select(others), whole) if len(others) else whole


def _joined(data: Observations, other: Observations) -> Observations:
    """Series of both, one below the other."""
    n = max(data.times.shape[1], other.times.shape[1])
    times = torch.cat([_wider(x.times, n) for x in (data, other)])
    values = torch.cat([_wider(x.values, n, torch.nan) for x in (data, other)])
    events = [_no_fewer(x.events, max(_count(data), _count(other))) for x in (data, other)]
    both = ScheduledEvents(**{name: torch.cat([vars(x)[name] for x in events]) for name in vars(events[0])})
    known = None
    if data.known is not None and other.known is not None:
        k = max(data.known.times.shape[1], other.known.times.shape[1])
        pairs = data.known, other.known
        known = KnownPaths(
            data.known.names,
            torch.cat([_wider(x.times, k, torch.inf) for x in pairs]),
            torch.cat([_wider(x.values, k) for x in pairs]),
            torch.cat([_wider(x.slopes, k, 0.0) for x in pairs]),
            torch.cat([x.until for x in pairs]),
        )
    static = {name: np.concatenate([column, other.static[name]]) for name, column in data.static.items()}
    return Observations(
        [*data.ids, *other.ids], torch.cat([data.start, other.start]), times, values, both, known=known, static=static
    )


def _count(data: Observations) -> int:
    return 0 if data.events is None else data.events.time.shape[1]


def _no_fewer(events: ScheduledEvents | None, n: int) -> ScheduledEvents:
    assert events is not None
    return ScheduledEvents(
        **{name: _wider(x, n, torch.inf if name == "time" else 0) for name, x in vars(events).items()}
    )


def _wider(x: Tensor, n: int, fill: float | None = None) -> Tensor:
    """The tensor (b k ...) with ``n`` columns: filled up, or with its last one over and over."""
    shape = (len(x), n - x.shape[1], *x.shape[2:])
    return torch.cat([x, x[:, -1:].expand(shape) if fill is None else x.new_full(shape, fill)], dim=1)

"""Histories of a known system: a panel of series as observations in model time, from the start of each."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from tsode.core.timeline import Timeline
from tsode.errors import DataError
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.known_ode.constants import constants
from tsode.estimators.known_ode.driving import known_digest, known_paths
from tsode.estimators.known_ode.schedules import scheduled
from tsode.frames.inputs import DosingInputs
from tsode.frames.panel import CovariateRecord, Panel
from tsode.inference.observations import Observations

__all__ = ["History", "constants_digest", "histories", "observations"]


@dataclass(frozen=True, eq=False)
class History:
    """What was seen of one series, in model time.

    Parameters
    ----------
    key : label
    start : float
        When it begins in its initial state; NaN where nothing says so.
    times : array[m], float64
        Of rows in which something was seen.
    values : array[m c], float64
    inputs : DosingInputs or None
        Its events.
    known : CovariateRecord or None
        Its inputs along time, and its constants.
    """

    key: Hashable
    start: float
    times: np.ndarray
    values: np.ndarray
    inputs: DosingInputs | None
    known: CovariateRecord | None = None

    def rows(self, chosen: slice | np.ndarray) -> History:
        """Some of the rows; events and inputs stay, for they are known ahead."""
        return replace(self, times=self.times[chosen], values=self.values[chosen])

    def as_told(self, panel: Panel) -> History:
        """The same with the events and inputs of another panel."""
        return replace(self, inputs=panel.inputs.get(self.key), known=panel.covariates.get(self.key))

    def digest(self, reader: DataReader) -> bytes:
        """What tells it from others: start, rows, and the events and inputs up to the last of these."""
        times, events = np.empty(0), np.empty((0, 0))
        if self.inputs is not None:
            times, events = reader.timeline.to_model(self.inputs.times), self.inputs.values
        known = known_digest(self.known, self.start, self.times[-1], reader) if len(self.times) else b""
        fixed = constants([self.known], reader)
        return digest(self.start, self.times, self.values, times, events) + known + constants_digest(fixed, 0)


def digest(start: float, times: np.ndarray, values: np.ndarray, event_times: np.ndarray, events: np.ndarray) -> bytes:
    """Bytes that are the same for the same history; events after its last row do not count."""
    is_past = event_times < times[-1] if len(times) else np.zeros(len(event_times), dtype=bool)
    parts = np.float64(start), times, values, event_times[is_past], events[is_past]
    sizes = repr([np.shape(part) if np.size(part) else 0 for part in parts]).encode()
    return sizes + b"".join(np.ascontiguousarray(part, dtype=np.float64).tobytes() for part in parts)


def constants_digest(columns: Mapping[str, np.ndarray], row: int) -> bytes:
    """Bytes that are the same for the same constants of a series."""
    return repr([(name, columns[name][row]) for name in sorted(columns)]).encode() if columns else b""


def histories(
    panel: Panel, keys: Sequence[Hashable], starts: Mapping[Hashable, float], timeline: Timeline
) -> list[History]:
    """Histories of the series `keys` of a panel, whose starts are given or else their first row or event."""
    place_of = {key: place for place, key in enumerate(panel.ids)}
    found = []
    for key in keys:
        place, inputs = place_of[key], panel.inputs.get(key)
        values = np.asarray(panel.values[place], dtype=np.float64)
        seen = ~np.isnan(values).all(axis=1)
        times = timeline.to_model(panel.times[place])
        firsts = [times[:1]]
        if inputs is not None and len(inputs.times):
            firsts.append(timeline.to_model(inputs.times[:1]))
        start = starts.get(key, float(min(np.concatenate(firsts), default=np.nan)))
        if inputs is not None and len(inputs.times) and float(timeline.to_model(inputs.times[:1])[0]) < start:
            raise DataError(f"Series {key!r} has an event before it starts: set initial_time= earlier, or drop it.")
        if len(times) and times[0] < start:
            raise DataError(f"Series {key!r} has a row before it starts: set initial_time= earlier, or drop it.")
        found.append(History(key, start, times[seen], values[seen], inputs, panel.covariates.get(key)))
    return found


def observations(series: Sequence[History], reader: DataReader) -> Observations:
    """Histories side by side.

    One without rows is as long as the horizon: solvers take the size of states from there.
    """
    known = known_paths(
        [one.key for one in series], [one.start for one in series], [one.times for one in series],
        [one.known for one in series], reader,
    )  # fmt: skip
    n_channels = series[0].values.shape[1]
    n_most = max(1, *(len(one.times) for one in series))
    times = np.empty((len(series), n_most))
    values = np.full((len(series), n_most, n_channels), np.nan)
    for row, one in enumerate(series):
        n = len(one.times)
        times[row, :n] = one.times
        until = np.inf if known is None else float(known.until[row])
        times[row, n:] = one.times[-1] if n else min(one.start + reader.reach, until)
        values[row, :n] = one.values
    return Observations(
        [one.key for one in series],
        torch.tensor([one.start for one in series], dtype=torch.float64),
        torch.from_numpy(times),
        torch.from_numpy(values),
        scheduled([one.inputs for one in series], reader.timeline),
        known=known,
        static=constants([one.known for one in series], reader),
    )

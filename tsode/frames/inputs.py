"""Dosing inputs: events at known times as numbers that a model reads, one column for each kind of event."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tsode.core.time_sums import shift_times
from tsode.errors import DataError
from tsode.frames.labels import decode_label, encode_label

__all__ = ["GIVEN", "DosingInputs", "EventEncoder"]

AMOUNT, GIVEN, RATE, STEADY = PARTS = ("amount", "given", "rate", "steady")


@dataclass(frozen=True, eq=False)
class DosingInputs:
    """Inputs of one series.

    Parameters
    ----------
    times : array[k]
        Native times, sorted.
    values : array[k e], float64
        Columns of an `EventEncoder`.
    """

    times: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class EventEncoder:
    """Columns for each kind and target of event, learned from the events in fit.

    A dose at once has its amount, and a column of zeros and ones; an infusion is a rate that goes up at its start and
    down by as much at its end; a reset or a mark has zeros and ones alone. Amounts and rates are divided by their
    mean size. An event that changes
    nothing (an amount of 0 added, a multiplication by 1) is left out.

    Where rates are held, the model lets each flow in until it changes: their columns come last, what goes up and down
    at one time is one input, and a reset ends what runs, as in `tsode.solve`.

    Parameters
    ----------
    columns : tuple of (kind, target, part)
        Part is "amount", "given", "rate" or "steady" (the amount of a dose in steady state).
    scale : tuple of float
        Divisor of each column.
    is_linear : bool
        Whether the 0/1 column of a dose is dropped, so that effects are linear in the amount.
    holds_rates : bool
        Whether rates are held, rather than felt when they change.
    """

    columns: tuple[tuple[str, Hashable, str], ...]
    scale: tuple[float, ...]
    is_linear: bool = False
    holds_rates: bool = False

    @property
    def n_rates(self) -> int:
        """Columns, the last ones, of rates that are held."""
        return sum(part == RATE for *_, part in self.columns) if self.holds_rates else 0

    @classmethod
    def fit(cls, rows: pd.DataFrame, is_linear: bool = False, spans: tuple[Any, Any] | None = None) -> EventEncoder:
        """Find the columns in the events that `tsode.frames.events.read_events` gives.

        With `spans`, rates are held; these are the longest lead of a forecast and the unit of model time, in native
        time. A rate is then divided so that what flows in, in model time, is 1 in the mean: over the infusion, or over
        that lead where it is longer.

        Raises
        ------
        DataError
            If there is no event.
        """
        sizes: dict[tuple[str, Hashable, str], list[float]] = {}
        longest, unit = (np.inf, 1.0) if spans is None else _as_float(pd.Series(spans))
        durations = np.minimum(_as_float(rows["duration"]), longest) / unit
        for parts, duration in zip(_parts(rows, is_linear, spans is not None), durations):
            for key, number in parts.items():
                held = duration if spans and key[2] == RATE else 1.0
                sizes.setdefault(key, []).append(abs(number) * held)
        if not sizes:
            raise DataError("The events change nothing in any series: give their amounts, or leave out events=.")
        columns = sorted(sizes, key=lambda key: (bool(spans) and key[2] == RATE, key[0], str(key[1]), key[2]))
        means = (float(np.mean(sizes[key])) for key in columns)
        scale = (1.0 if key[2] == GIVEN else mean for key, mean in zip(columns, means))
        return cls(tuple(columns), tuple(scale), is_linear, spans is not None)

    def encode(self, rows: pd.DataFrame) -> dict[Hashable, DosingInputs]:
        """The inputs of each series that has events.

        Raises
        ------
        DataError
            If an event is of a kind or target that fit has not seen.
        """
        place = {key: column for column, key in enumerate(self.columns)}
        dtype = rows.attrs.get("time_dtype")
        starts = shift_times(rows["time"].to_numpy(), rows["lag"].to_numpy(), 1, dtype)
        if starts.dtype.kind in "iu" and rows["duration"].notna().any():
            starts = starts.astype(np.float64)
        ends = shift_times(starts, rows["duration"].to_numpy(), 1, dtype)
        has_end = rows["duration"].notna().to_numpy() & ~np.isinf(_as_float(rows["duration"]))
        by_series: dict[Hashable, list[tuple[Any, int, int, np.ndarray]]] = {}
        if self.holds_rates:
            ends = _cut_by_resets(rows, starts, ends, has_end)
        for row, parts in enumerate(_parts(rows, self.is_linear, self.holds_rates)):
            if not parts:
                continue
            values = np.zeros(len(self.columns))
            for key, number in parts.items():
                if key not in place:
                    seen = sorted({f"{kind} of {target!r}" if target else kind for kind, target, _ in self.columns})
                    event = f"{key[0]} of {key[1]!r}" if key[1] else key[0]
                    raise DataError(
                        f"There is an event {event!r} ({key[2]}), but the model has seen none in fit, so its effect is "
                        f"not known. Seen: {', '.join(seen)}. Fit with such events, or change kind or target."
                    )
                values[place[key]] = number / self.scale[place[key]]
            inputs = by_series.setdefault(rows["id"].iat[row], [])
            inputs.append((starts[row], 1, len(inputs), values))
            if has_end[row]:
                down = np.where([part == RATE for *_, part in self.columns], -values, 0.0)
                inputs.append((ends[row], 0, len(inputs), down))  # an end comes before a start at one time
        encoded: dict[Hashable, DosingInputs] = {}
        for name, inputs in by_series.items():
            inputs.sort(key=lambda entry: entry[:3])
            times, _, _, values_of = zip(*inputs)
            found = DosingInputs(np.array(times), np.stack(values_of))
            encoded[name] = _net(found, self.n_rates) if self.n_rates else found
        return encoded

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        columns = [[kind, encode_label(target), part] for kind, target, part in self.columns]
        state: dict[str, Any] = {"columns": columns, "scale": list(self.scale), "is_linear": self.is_linear}
        return state | {"holds_rates": True} if self.holds_rates else state

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> EventEncoder:
        """Undo `to_dict`.

        Raises
        ------
        ValueError
            If `state` is nothing that `to_dict` gives.
        """
        # files of before may hold NaN where no target was given
        columns = tuple(
            (kind, None if target != target else target, part)
            for kind, target, part in ((kind, decode_label(label), part) for kind, label, part in state["columns"])
        )
        scale = tuple(float(number) for number in state["scale"])
        if len(scale) != len(columns) or not all(0.0 < number < np.inf for number in scale):
            raise ValueError("the events have no positive scale for each of their columns")
        if not columns or not all(isinstance(kind, str) and part in PARTS for kind, _, part in columns):
            raise ValueError("the columns of the events are of no kind that there is")
        return cls(columns, scale, bool(state["is_linear"]), bool(state.get("holds_rates", False)))


def _as_float(durations: pd.Series) -> np.ndarray:
    values = durations.to_numpy()
    return values / np.timedelta64(1, "s") if values.dtype.kind == "m" else values.astype(np.float64)


def _net(inputs: DosingInputs, n_rates: int) -> DosingInputs:
    """The inputs with all changes of rates of one time as one, after what acts at once, and none that cancel."""
    acts, changes = inputs.values.copy(), inputs.values.copy()
    acts[:, -n_rates:], changes[:, :-n_rates] = 0.0, 0.0
    times, place = np.unique(inputs.times, return_inverse=True)
    net, size = np.zeros((2, len(times), changes.shape[1]))
    np.add.at(net, place, changes)
    np.add.at(size, place, np.abs(changes))
    net[np.abs(net) <= 1e-9 * size] = 0.0
    values = np.concatenate([acts, net])
    joined = np.concatenate([inputs.times, times])
    order = np.argsort(joined, kind="stable")
    order = order[values[order].any(axis=1)]
    return DosingInputs(joined[order], values[order])


def _cut_by_resets(rows: pd.DataFrame, starts: np.ndarray, ends: np.ndarray, has_end: np.ndarray) -> np.ndarray:
    """Ends of infusions, each at the first reset of its series after its start where that is sooner.

    An infusion without an end gets one there: `has_end` is changed. Events come in the order in which they are applied.
    """
    ends, kinds, ids = ends.copy(), rows["kind"].to_numpy(), rows["id"].to_numpy()
    lasts = rows["duration"].notna().to_numpy()
    running: dict[Hashable, list[int]] = {}
    for row in np.lexsort((np.arange(len(rows)), starts)):
        key = ids[row]
        if kinds[row] in ("reset", "reset_add"):
            for other in running.pop(key, []):
                if not has_end[other] or ends[other] > starts[row]:
                    ends[other], has_end[other] = starts[row], True
        if lasts[row]:
            running.setdefault(key, []).append(row)
    return ends


def _parts(
    rows: pd.DataFrame, is_linear: bool, holds_rates: bool = False
) -> list[dict[tuple[str, Hashable, str], float]]:
    """Inputs of each event, unscaled; empty for an event that changes nothing."""
    events = []
    durations = _as_float(rows["duration"])
    columns = (rows[name].to_numpy() for name in ("kind", "target", "amount", "rate", "steady_state"))
    for kind, target, amount, rate, steady, duration in zip(*columns, durations):
        parts: dict[tuple[str, Hashable, str], float] = {}
        if not np.isnan(duration):
            size = amount / duration if np.isnan(rate) else rate
            if size:
                parts[kind, target, RATE] = size
            if holds_rates and kind == "reset_add":  # what runs in afterwards is not all that it does
                parts[kind, target, GIVEN] = 1.0
        elif not ((kind == "add" and amount == 0.0) or (kind == "multiply" and amount == 1.0)):
            has_amount = kind not in ("reset", "mark")
            if not (has_amount and is_linear):
                parts[kind, target, GIVEN] = 1.0
            if has_amount:
                parts[kind, target, AMOUNT] = amount
            if steady:
                parts[kind, target, STEADY] = amount
        events.append(parts)
    return events

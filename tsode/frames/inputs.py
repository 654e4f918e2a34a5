"""Dosing inputs: events at known times as numbers that a model reads, one column for each kind of event."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tsode.errors import DataError
from tsode.frames.labels import decode_label, encode_label

__all__ = ["DosingInputs", "EventEncoder"]

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

    Parameters
    ----------
    columns : tuple of (kind, target, part)
        Part is "amount", "given", "rate" or "steady" (the amount of a dose in steady state).
    scale : tuple of float
        Divisor of each column.
    is_linear : bool
        Whether the 0/1 column of a dose is dropped, so that effects are linear in the amount.
    """

    columns: tuple[tuple[str, Hashable, str], ...]
    scale: tuple[float, ...]
    is_linear: bool = False

    @classmethod
    def fit(cls, rows: pd.DataFrame, is_linear: bool = False) -> EventEncoder:
        """Find the columns in the events that `tsode.frames.events.read_events` gives.

        Raises
        ------
        DataError
            If there is no event.
        """
        sizes: dict[tuple[str, Hashable, str], list[float]] = {}
        for parts in _parts(rows, is_linear):
            for key, number in parts.items():
                sizes.setdefault(key, []).append(abs(number))
        if not sizes:
            raise DataError("The events change nothing in any series: give their amounts, or leave out events=.")
        columns = sorted(sizes, key=lambda key: (key[0], str(key[1]), key[2]))
        means = (float(np.mean(sizes[key])) for key in columns)
        scale = (1.0 if key[2] == GIVEN else mean for key, mean in zip(columns, means))
        return cls(tuple(columns), tuple(scale), is_linear)

    def encode(self, rows: pd.DataFrame) -> dict[Hashable, DosingInputs]:
        """The inputs of each series that has events.

        Raises
        ------
        DataError
            If an event is of a kind or target that fit has not seen.
        """
        place = {key: column for column, key in enumerate(self.columns)}
        starts = rows["time"].to_numpy()
        ends = starts + rows["duration"].to_numpy() if len(rows) else starts
        if starts.dtype.kind in "iu" and rows["duration"].notna().any():
            starts = starts.astype(np.float64)
        has_end = rows["duration"].notna().to_numpy() & ~np.isinf(_as_float(rows["duration"]))
        by_series: dict[Hashable, list[tuple[Any, int, int, np.ndarray]]] = {}
        for row, parts in enumerate(_parts(rows, self.is_linear)):
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
                inputs.append((ends[row], 0, len(inputs), -values))  # an end comes before a start at one time
        encoded: dict[Hashable, DosingInputs] = {}
        for name, inputs in by_series.items():
            inputs.sort(key=lambda entry: entry[:3])
            times, _, _, values_of = zip(*inputs)
            encoded[name] = DosingInputs(np.array(times), np.stack(values_of))
        return encoded

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        columns = [[kind, encode_label(target), part] for kind, target, part in self.columns]
        return {"columns": columns, "scale": list(self.scale), "is_linear": self.is_linear}

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
        return cls(columns, scale, bool(state["is_linear"]))


def _as_float(durations: pd.Series) -> np.ndarray:
    values = durations.to_numpy()
    return values / np.timedelta64(1, "s") if values.dtype.kind == "m" else values.astype(np.float64)


def _parts(rows: pd.DataFrame, is_linear: bool) -> list[dict[tuple[str, Hashable, str], float]]:
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

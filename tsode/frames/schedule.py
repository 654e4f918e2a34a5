"""Schedule of a solve: query times and events at known times as tensors, and answers back as rows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode.core.scheduled_events import EventKind, ScheduledEvents
from tsode.core.time_sums import add_spans, divide
from tsode.core.timeline import Timeline, kind_of_times
from tsode.errors import DataError, ParameterError
from tsode.frames.durations import read_duration
from tsode.frames.events import EventTable, read_events
from tsode.frames.index import native_times, restore_times
from tsode.frames.labels import guess_label
from tsode.frames.meeting import check_meeting
from tsode.frames.table import ID_COL, TIME_COL, open_table

__all__ = ["SCHEDULE_COLUMNS", "Schedule", "read_schedule", "schedule_columns"]

SCHEDULE_COLUMNS = ("kind", "target", "amount", "duration", "every", "steady_state", "since", "is_part")

_KINDS = {
    "mark": EventKind.MARK,
    "add": EventKind.ADD,
    "rate": EventKind.ADD,
    "set": EventKind.SET,
    "multiply": EventKind.MULTIPLY,
    "reset": EventKind.RESET,
    "reset_add": EventKind.RESET_ADD,
}


@dataclass(frozen=True, eq=False)
class Schedule:
    """Query times and events of every series, ready for `tsode.solve_schedule`.

    Parameters
    ----------
    ids : list of label
        The series, in the order of the rows (b) that a field sees.
    states : tuple of label
        Names of the states (d).
    t0 : Tensor[b], float64
        When each series starts.
    times : Tensor[b m], float64
        Query times; a series with fewer repeats its last.
    events : ScheduledEvents
        Its `amount` (b k) may be replaced by one that requires a gradient.
    row, column : Tensor[n], int64
        Place in `times` of each answer.
    answers : DataFrame, n rows
        Ids and times of the answers.
    to_native : callable
        Native times (an Index) of an array of the field's own.
    """

    ids: list[Hashable]
    states: tuple[Hashable, ...]
    t0: Tensor
    times: Tensor
    events: ScheduledEvents
    row: Tensor
    column: Tensor
    answers: pd.DataFrame
    to_native: Callable[[np.ndarray], pd.Index]


@dataclass(frozen=True, eq=False)
class _Query:
    """Query times, one entry an answer: series and native time; the index and dtype to answer with."""

    ids: list[Hashable]
    codes: np.ndarray
    times: np.ndarray
    index: pd.Index
    dtype: Any


def read_schedule(
    times: Any,
    events: Any = None,
    *,
    states: Sequence[Hashable],
    ids: Sequence[Hashable] | None = None,
    t0: Any = None,
    time_unit: Any = None,
    id_col: Hashable = ID_COL,
    time_col: Hashable = TIME_COL,
) -> Schedule:
    """Read times and events once, to be solved for many parameters.

    Parameters
    ----------
    times, events, states, t0, time_unit, id_col, time_col
        As in `tsode.solve`.
    ids : sequence of label, optional
        The series, where `times` does not tell; default: those of the events, or a single one.

    Raises
    ------
    DataError, ParameterError
        If an argument cannot be read.
    """
    if isinstance(states, str) or not states or len(set(states)) < len(states):
        raise ParameterError(f"states={states!r} must be a list of one name or more, each once.")
    if events is not None and not isinstance(events, EventTable):
        events = EventTable(events, id_col, time_col)
    if ids is None:
        ids = [0] if events is None else events.ids or [0]
    query = _read_query(times, ids, id_col, time_col)
    kind = kind_of_times(query.times)
    unit = _read_unit(time_unit, kind)
    table = None
    if events is not None:
        table = _events_of_query(read_events(events, query.ids, time_unit=unit), query, events.id_col)
    starts = None if t0 is None else _read_starts(t0, query)
    natives = [
        query.times,
        *([] if table is None else [table["time"].to_numpy()]),
        *([] if starts is None else [starts]),
    ]
    to_model, to_native = _clock(kind, unit, natives)

    n = len(query.ids)
    rows, columns = query.codes, _count_within(query.codes, n)
    model = to_model(query.times)
    scheduled = _read_scheduled(table, query.ids, tuple(states), to_model, unit)
    first = np.full(n, np.inf)
    np.minimum.at(first, rows, model)
    first = np.minimum(first, scheduled.time.numpy().min(axis=1, initial=np.inf))
    start = np.where(np.isfinite(first), first, 0.0) if starts is None else to_model(starts)
    if (first < start).any():
        label = query.ids[int((first < start).argmax())]
        raise DataError(f"Series {label!r} has an event or an asked time before t0: start earlier, or drop the rows.")
    padded = np.repeat(start[:, None], columns.max(initial=-1) + 1, axis=1)
    padded[rows, columns] = model
    # The last time of a shorter row once more; not its start, which may be far from where the solver is then.
    padded = np.where(_is_filled(rows, columns, padded.shape), padded, padded.max(axis=1, initial=-np.inf)[:, None])
    answers = pd.DataFrame(
        {id_col: pd.Index(query.ids, tupleize_cols=False)[rows], time_col: restore_times(query.times, query.dtype)}
    ).set_index(query.index)
    return Schedule(
        ids=query.ids,
        states=tuple(states),
        t0=torch.from_numpy(start),
        times=torch.from_numpy(padded),
        events=scheduled,
        row=torch.from_numpy(np.array(rows, dtype=np.int64)),
        column=torch.from_numpy(np.array(columns, dtype=np.int64)),
        answers=answers,
        to_native=lambda model: restore_times(to_native(model), query.dtype),
    )


def _read_query(times: Any, ids: Sequence[Hashable], id_col: Hashable, time_col: Hashable) -> _Query:
    if _is_frame(times):
        table = open_table(times, id_col, time_col)
        if table.layout.id_col is not None:
            return _Query(table.ids, table.codes, table.times, table.index, table.layout.time_dtype)
        index, native, dtype = table.index, table.times, table.layout.time_dtype
    elif isinstance(times, Mapping):
        parts = [_to_index(part) for part in times.values()]
        filled = [part for part in parts if len(part)] or [pd.Index([], dtype=np.float64)]
        native, dtype = native_times(filled[0].append(filled[1:]), "times=")
        codes = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        return _Query(list(times), codes, native, pd.RangeIndex(len(native)), dtype)
    else:
        index = _to_index(times)
        native, dtype = native_times(index if len(index) else pd.Index([], dtype=np.float64), "times=")
        index = pd.RangeIndex(len(native))
    codes = np.repeat(np.arange(len(ids)), len(native))
    index = index if len(ids) == 1 else pd.RangeIndex(len(codes))
    return _Query(list(ids), codes, np.tile(native, len(ids)), index, dtype)


def _is_frame(data: Any) -> bool:
    return isinstance(data, pd.DataFrame) or isinstance(nw.from_native(data, pass_through=True), nw.DataFrame)


def _to_index(times: Any) -> pd.Index:
    if isinstance(times, Tensor):
        times = times.detach().cpu().numpy()
    return times if isinstance(times, pd.Index) else pd.Index([times] if np.ndim(times) == 0 else times)


def _read_unit(time_unit: Any, kind: str) -> np.timedelta64 | None:
    if kind in ("float", "int"):
        if time_unit is not None:
            raise ParameterError(f"time_unit={time_unit!r}, but the times are numbers, which have a unit: drop it.")
        return None
    if time_unit is None:
        raise ParameterError(f"The times are {kind}s: say what one unit of the field's time is, as in time_unit='1h'.")
    span = read_duration(time_unit, kind, "time_unit")
    try:
        unit = pd.Timedelta(span)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"time_unit={time_unit!r} is no duration: write it like '1h' or '1min'.") from error
    is_number = isinstance(time_unit, Real) and not isinstance(time_unit, np.timedelta64)
    if not unit > pd.Timedelta(0) or is_number:
        raise ParameterError(f"time_unit={time_unit!r} is no positive duration: write it like '1h' or '1min'.")
    return unit.to_timedelta64()


def _events_of_query(table: pd.DataFrame, query: _Query, id_col: Hashable) -> pd.DataFrame:
    """The events of the series in the query."""
    _check_kind(table["time"].to_numpy(), table.attrs["time_dtype"], query, "The events")
    says, of = f"The column {id_col!r} of the events has series {{}}, which is not asked for", "the series asked for"
    check_meeting(table["id"], query.ids, says, of=of, strangers="some")
    in_query = set(query.ids)
    is_in_query = np.array([label in in_query for label in table["id"]], dtype=bool)
    table = table[is_in_query].reset_index(drop=True)
    return _split(table)


def _split(table: pd.DataFrame) -> pd.DataFrame:
    """Events as a solver takes them: what has several parts as a row a part."""
    return _split_late(
        _split_constant(table.assign(is_part=False, since=0 * table["every"])), table.attrs["time_dtype"]
    )


def schedule_columns(rows: pd.DataFrame, states: Sequence[Hashable], unit: Any = None) -> pd.DataFrame:
    """Columns ``id``, ``time`` (native) and `SCHEDULE_COLUMNS` (float64) of events from `read_events`, a row a part.

    `unit` is that of time in native time; None: numbers as they are. An input without end has an infinite duration.
    """
    table = _split(rows.reset_index(drop=True))
    return pd.DataFrame({"id": table["id"], "time": table["time"], **_numbers(table, tuple(states), unit)})


def _numbers(table: pd.DataFrame, states: tuple[Hashable, ...], unit: Any) -> dict[str, np.ndarray]:
    duration, every, since = (_spans(table[name].to_numpy(), unit) for name in ("duration", "every", "since"))
    is_endless = (table["kind"] == "rate").to_numpy() & ~np.isfinite(duration)
    is_number = unit is not None and not isinstance(unit, np.timedelta64)
    rate = table["rate"].to_numpy(dtype=np.float64) * (unit if is_number else 1.0)  # a clock's is per unit already
    numbers = {
        "kind": [int(_KINDS[kind]) for kind in table["kind"]],
        "target": [_find_target(*event, states) for event in zip(table["kind"], table["target"])],
        "amount": np.where(is_endless, rate, table["amount"]),
        "duration": np.where(is_endless, np.inf, np.nan_to_num(duration)),
        "every": np.nan_to_num(every),
        "steady_state": table["steady_state"],
        "since": np.nan_to_num(since),
        "is_part": table["is_part"],
    }
    return {name: np.asarray(column, dtype=np.float64) for name, column in numbers.items()}


def _split_constant(table: pd.DataFrame) -> pd.DataFrame:
    """A constant input that ends when it has led to its steady state: from then on an equal one is subtracted."""
    ends_now = ((table["kind"] == "rate") & (table["duration"] == 0 * table["duration"])).to_numpy()
    table = table.loc[np.repeat(table.index, 1 + ends_now)]
    is_counter = table.index.duplicated()
    return table.assign(
        rate=table["rate"].where(~is_counter, -table["rate"]),
        steady_state=table["steady_state"].where(~is_counter, 0.0),
        duration=table["duration"].mask(np.repeat(ends_now, 1 + ends_now)),
        is_part=is_counter,
    ).reset_index(drop=True)


def _split_late(table: pd.DataFrame, time_dtype: Any) -> pd.DataFrame:
    """A steady state of doses that arrive late: the state where they have got to, then the doses on their way."""
    is_late = table["lag"].notna().to_numpy()
    parts = [table]
    for row in np.flatnonzero(is_late):
        time, every, lag = (table[name].to_numpy()[[row]] for name in ("time", "every", "lag"))
        whole = lag // every if lag.dtype.kind == "m" else np.floor([divide(float(lag[0]), float(every[0]))])
        n_whole = int(whole[0])
        rest = add_spans(lag, every, -n_whole)
        is_now = not rest.astype(np.float64)[0]
        table.loc[row, "since"] = (0 * every if is_now else add_spans(every, rest, -1))[0]
        arrivals = add_spans(
            np.repeat(add_spans(time, rest, dtype=time_dtype), n_whole + 1), every, np.arange(n_whole + 1)
        )
        doses = table.loc[[row] * (n_whole + 1)].assign(
            time=arrivals,
            steady_state=0.0,
            since=np.repeat(0 * every, n_whole + 1),
            is_part=is_now & (np.arange(n_whole + 1) == 0),
        )
        parts.append(doses)
    if not is_late.any():
        return table
    # The first of them may arrive at once, right after the steady state; later ones after what has its own time there.
    long = pd.concat(parts)
    long["place"] = np.where(long["is_part"] | (np.arange(len(long)) < len(table)), 0, 1)
    long["order"] = long.index
    return long.sort_values(["time", "place", "priority", "order", "is_part"], kind="stable", ignore_index=True)


def _check_kind(native: np.ndarray, dtype: Any, query: _Query, where: str) -> None:
    if not len(native):
        return
    kind, wanted = kind_of_times(native), kind_of_times(query.times)
    if kind != wanted and not {kind, wanted} <= {"float", "int"}:
        raise DataError(f"{where} has times of the kind {kind}, but times= has {wanted}: convert one to the other.")
    if (getattr(dtype, "tz", None) is None) != (getattr(query.dtype, "tz", None) is None):
        raise DataError(f"{where} and times= must both have a time zone or neither: use `.dt.tz_localize(...)`.")


def _read_starts(t0: Any, query: _Query) -> np.ndarray:
    if isinstance(t0, Mapping):
        check_meeting(query.ids, t0, "t0= has no time for series {}", of="t0=")
        index = pd.Index([t0[label] for label in query.ids])
    elif np.ndim(t0) == 0:
        index = pd.Index([t0] * len(query.ids))
    else:
        raise DataError("t0= is one time for every series, or a dict of id to time.")
    native, dtype = native_times(index, "t0=")
    _check_kind(native, dtype, query, "t0=")
    return native


def _clock(
    kind: str, unit: np.timedelta64 | None, natives: list[np.ndarray]
) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """Maps from native times to the field's and back: numbers as they are, a clock's in units since its origin."""
    if unit is None:
        return lambda native: native.astype(np.float64), lambda model: model
    timeline = Timeline.fit([native for native in natives if len(native)] or [np.zeros(1, natives[0].dtype)], unit)
    timeline = replace(timeline, origin=0) if kind == "timedelta" else timeline
    finer = {"s": 10**6, "ms": 10**3}.get(str(timeline.resolution), 1)  # what happens between ticks has its own time
    in_microseconds = replace(
        timeline,
        origin=timeline.origin * finer,
        unit=timeline.unit * finer,
        resolution="us" if finer > 1 else timeline.resolution,
    )
    return timeline.to_model, in_microseconds.to_native


def _count_within(codes: np.ndarray, n: int) -> np.ndarray:
    """Number of earlier answers of the same series, for each answer."""
    return pd.Series(codes).groupby(codes).cumcount().to_numpy() if len(codes) else codes


def _is_filled(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    filled = np.zeros(shape, dtype=bool)
    filled[rows, columns] = True
    return filled


def _read_scheduled(
    table: pd.DataFrame | None,
    ids: list[Hashable],
    states: tuple[Hashable, ...],
    to_model: Callable[[np.ndarray], np.ndarray],
    unit: np.timedelta64 | None,
) -> ScheduledEvents:
    """Events of every series in a row, padded with marks at an infinite time."""
    n = 0 if table is None else len(table)
    row = np.zeros(n, dtype=np.int64)
    if table is not None:
        place = {label: k for k, label in enumerate(ids)}
        row = np.array([place[label] for label in table["id"]], dtype=np.int64)
    column = _count_within(row, len(ids))

    def spread(values: Any, dtype: Any, fill: float = 0) -> Tensor:
        block = np.full((len(ids), column.max(initial=-1) + 1), fill, dtype=dtype)
        block[row, column] = values
        return torch.from_numpy(block)

    if table is None or not n:
        empty, whole = spread([], np.float64), spread([], np.int64)
        return ScheduledEvents(empty, whole, whole, empty, empty, empty, whole, empty, spread([], bool))
    numbers = _numbers(table, states, unit)
    return ScheduledEvents(
        time=spread(to_model(table["time"].to_numpy()), np.float64, np.inf),
        is_part=spread(numbers["is_part"], bool),
        **{name: spread(numbers[name], np.int64) for name in ("kind", "target", "steady_state")},
        **{name: spread(numbers[name], np.float64) for name in ("amount", "duration", "every", "since")},
    )


def _spans(values: np.ndarray, unit: np.timedelta64 | None) -> np.ndarray:
    return values.astype(np.float64) if unit is None else values / unit


def _find_target(kind: str, target: Any, states: tuple[Hashable, ...]) -> int:
    if target is None or kind in ("mark", "reset"):  # which change no state, or all
        return 0
    if target in states:
        return states.index(target)
    # A column of integers with empty cells holds floats.
    if isinstance(target, int | float) and not isinstance(target, bool) and target in range(len(states)):
        return int(target)
    raise DataError(
        f"An event has the target {target!r}, which is no state.{guess_label(target, states)} "
        f"The states are {list(states)}; a number counts them from 0."
    )

"""Streams of events read from frames: times and marks of each stream, and the window in which it was observed."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from tsode.core.timeline import kind_of_times
from tsode.errors import DataError
from tsode.frames.index import native_times
from tsode.frames.labels import guess_label
from tsode.frames.meeting import check_meeting
from tsode.frames.panel import Layout, Panel
from tsode.frames.table import ID_COL, TIME_COL, open_table

__all__ = ["UNMARKED", "Streams", "check_zone", "read_streams"]

UNMARKED = "event"  # the one mark of events without marks


@dataclass(frozen=True, eq=False)
class Streams:
    """Event streams as plain arrays.

    Parameters
    ----------
    ids : list of label
    times : list of array[n]
        Sorted: datetime64 (UTC without a zone), timedelta64, float64 or int64.
    codes : list of array[n], int64
        Place in `marks` of each event.
    start, end : list of native time
        Window of each stream.
    marks : list of label
    layout : Layout
        Of a long frame with these ids and times.
    is_window_given : bool
        Whether the windows were given, or are from the first event to the last.
    """

    ids: list[Hashable]
    times: list[np.ndarray]
    codes: list[np.ndarray]
    start: list[Any]
    end: list[Any]
    marks: list[Hashable]
    layout: Layout
    is_window_given: bool

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: Sequence[int] | np.ndarray) -> Streams:
        """The streams at `rows`, in that order."""
        parts: dict[str, Any] = {
            name: [getattr(self, name)[i] for i in rows] for name in ("ids", "times", "codes", "start", "end")
        }
        return replace(self, **parts)

    def as_panel(self) -> Panel:
        """A panel for `tsode.frames.times.read_query`: the times of each stream, up to the end of its window."""
        times = [np.concatenate([t, [end]]) if not len(t) or end > t[-1] else t for t, end in zip(self.times, self.end)]
        values = [np.zeros((len(t), 1)) for t in times]
        return Panel(self.ids, times, values, [UNMARKED], self.layout)


def read_streams(
    data: Any,
    *,
    id_col: Hashable = ID_COL,
    time_col: Hashable = TIME_COL,
    mark_col: Hashable = "mark",
    windows: Any = None,
    marks: Sequence[Hashable] | None = None,
    name: str = "X",
) -> Streams:
    """Read event streams; events are sorted by time, and those at one time by mark.

    Parameters
    ----------
    data : DataFrame
        One row an event: `id_col` (may be absent where there is one stream), `time_col`, `mark_col`.
    id_col, time_col : label
    mark_col : label or None
        None: events have no marks.
    windows : DataFrame, optional
        One row a stream, ``id_col, start, end``: when it was observed. A stream that is only here had no events. The
        default is from the first to the last event of each.
    marks : list of label, optional
        All marks; the default are those that occur, sorted.
    name : str
        What error messages call the data.

    Raises
    ------
    DataError
    """
    table = open_table(data, id_col, time_col)
    if not len(table.times) and windows is None:
        raise DataError(f"{name} has no rows: give at least one event.")
    labels, codes = _read_marks(table.columns, mark_col, marks, name)
    ids, rows, times = table.ids, table.codes, table.times
    time_dtype = table.layout.time_dtype
    order = np.lexsort((codes, times, rows))
    cuts = np.searchsorted(rows[order], np.arange(1, len(ids)))
    n = len(ids)  # of a frame without rows: none, where `np.split` gives one piece
    streams = Streams(
        ids=ids,
        times=np.split(times[order], cuts)[:n],
        codes=np.split(codes[order], cuts)[:n],
        start=[],
        end=[],
        marks=labels,
        layout=Layout("long", id_col, time_col, False, table.layout.id_dtype, time_dtype),
        is_window_given=windows is not None,
    )
    if windows is not None:
        return _with_windows(streams, windows, id_col, name)
    return replace(streams, start=[t[0] for t in streams.times], end=[t[-1] for t in streams.times])


def check_zone(tz: Any, events_tz: Any, where: str) -> None:
    """Refuse times without a time zone beside times with one.

    Raises
    ------
    DataError
    """
    if (tz is None) != (events_tz is None):
        has, other = ("a", "none") if events_tz is None else ("no", "one")
        raise DataError(
            f"{where} has {has} time zone, but the events have {other}: convert one with `.dt.tz_localize(...)`."
        )


def _read_marks(
    columns: pd.DataFrame, mark_col: Hashable, marks: Sequence[Hashable] | None, name: str
) -> tuple[list[Hashable], np.ndarray]:
    if mark_col is None:
        return [UNMARKED], np.zeros(len(columns), dtype=np.int64)
    if mark_col not in columns.columns:
        raise DataError(
            f"{name} has no column {mark_col!r} of marks.{guess_label(mark_col, list(columns.columns))} The columns "
            f"beside id and time are {list(columns.columns)}: name it with mark_col=, or pass mark_col=None."
        )
    column = columns[mark_col]
    if column.isna().any():
        raise DataError(
            f"The mark column {mark_col!r} of {name} is empty (None or NaN) at row {int(column.isna().argmax())}: "
            "drop such rows, or give them a mark of their own."
        )
    if marks is None:
        uniques = column.unique().tolist()
        try:
            marks = sorted(uniques)
        except TypeError:  # labels of several types
            marks = sorted(uniques, key=lambda label: (type(label).__name__, str(label)))
    place = {label: code for code, label in enumerate(marks)}
    codes = column.astype(object).map(place)
    if codes.isna().any():
        unknown = column[codes.isna()].iloc[0]
        shown = ", ".join(repr(label) for label in list(marks)[:10]) + (", ..." if len(marks) > 10 else "")
        raise DataError(
            f"{name} has events of the mark {unknown!r}, which did not occur in fit."
            f"{guess_label(unknown, list(marks))} Known: {shown}. Drop such events, or fit on data that have them."
        )
    return list(marks), codes.to_numpy(dtype=np.int64)


def _with_windows(streams: Streams, windows: Any, id_col: Hashable, name: str) -> Streams:
    """Put the windows to the streams, and add streams without events."""
    if not isinstance(windows, pd.DataFrame) or not {"start", "end"} <= set(windows.columns):
        raise DataError(f"windows= must be a frame with the columns {id_col!r}, 'start' and 'end', one row a stream.")
    if id_col not in windows.columns and len(streams) > 1:
        guess = guess_label(id_col, list(windows.columns))
        raise DataError(f"windows= has no column {id_col!r}.{guess} It has {list(windows.columns)}: name the streams.")
    keys = windows[id_col].tolist() if id_col in windows.columns else streams.ids[:1] * len(windows)
    if len(set(keys)) < len(keys):
        raise DataError("windows= names a stream twice: give one row a stream.")
    place = {key: row for row, key in enumerate(keys)}
    no_row = f"windows= has no row for stream {{}} of {name}"
    check_meeting(streams.ids, keys, no_row, of="windows=", remedy="Give one for each.")
    check_meeting(keys, streams.ids, "windows= has a row for stream {}", of=name, strangers="any")
    kind = kind_of_times(streams.times[0]) if len(streams) else None
    ends = []
    for column in ("start", "end"):
        native, dtype = native_times(pd.Index(windows[column]), f"The column {column!r} of windows=")
        check_zone(getattr(dtype, "tz", None), streams.layout.tz, f"The column {column!r} of windows=")
        window_kind = kind_of_times(native)
        if kind is not None and window_kind != kind and not {window_kind, kind} <= {"float", "int"}:
            raise DataError(
                f"The column {column!r} of windows= has {window_kind} times, but the events have {kind} times."
            )
        ends.append(native.astype(np.float64) if (window_kind, kind) == ("int", "float") else native)
    start, end = ends
    if (end < start).any():
        raise DataError(f"The window of stream {keys[int((end < start).argmax())]!r} ends before it starts.")
    for key, times in zip(streams.ids, streams.times):
        row = place[key]
        if times[0] < start[row] or times[-1] > end[row]:
            raise DataError(
                f"Stream {key!r} has events from {times[0]} to {times[-1]}, outside its window from {start[row]} to "
                f"{end[row]}: widen the window, or drop what lies outside."
            )
    active = set(streams.ids)
    silent = [key for key in keys if key not in active]
    empty = streams.times[0][:0] if len(streams) else start[:0]
    ids = [*streams.ids, *silent]
    return replace(
        streams,
        ids=ids,
        times=[*streams.times, *([empty] * len(silent))],
        codes=[*streams.codes, *([np.zeros(0, dtype=np.int64)] * len(silent))],
        start=[start[place[key]] for key in ids],
        end=[end[place[key]] for key in ids],
    )

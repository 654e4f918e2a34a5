"""Reading of any container as a `Panel`, or an error that says how to mend it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tsode.errors import DataError, ParameterError
from tsode.frames.index import restore_times
from tsode.frames.labels import guess_label
from tsode.frames.numbers import as_numbers
from tsode.frames.panel import Panel
from tsode.frames.table import ID_COL, TIME_COL, Table, open_table
from tsode.frames.tidy import describe_tidy, refuse_tidy, warn_tidy

__all__ = ["choose_channels", "read_panel", "read_table"]


def read_panel(
    data: Any,
    *,
    id_col: Hashable = ID_COL,
    time_col: Hashable = TIME_COL,
    target: Hashable | Sequence[Hashable] = None,
    duplicates: str = "error",
    require_values: bool = True,
) -> Panel:
    """Read irregular series from a pandas (or narwhals-compatible) container.

    Rows are sorted by time within each series. Rows with the same id and time become one if no channel has a value in
    two of them.

    Parameters
    ----------
    data : pd.Series, pd.DataFrame, list of Series or of frames, or polars frame
        A Series or wide frame indexed by time (or with a time column) is one series; a long frame has the columns
        `id_col` and `time_col`; a MultiIndex frame has the levels id and time. Times are datetimes, timedeltas, floats
        or integers, with any spacing; NaN = not observed.
    id_col, time_col : label
        Columns of a long frame.
    target : label, list of label or None
        Channels to read; None takes every column that is not the id or time, and insists that they are numeric.
    duplicates : {"error", "mean"}
        What to do with two values of a channel at one time of one series.
    require_values : bool
        Whether data without rows, channels or any observed value are an error.

    Raises
    ------
    DataError
        If the data cannot be read as irregular series.
    """
    return read_table(open_table(data, id_col, time_col), target, duplicates, require_values)


def read_table(
    table: Table,
    target: Hashable | Sequence[Hashable] = None,
    duplicates: str = "error",
    require_values: bool = True,
    has_settings: bool = True,
) -> Panel:
    """As `read_panel`, of a table that is open; `has_settings`: whether the user has `target` and `duplicates`."""
    if duplicates not in ("error", "mean"):
        raise ParameterError(f"duplicates={duplicates!r} is not known: choose 'error' or 'mean'.")
    if require_values and not len(table.times):
        raise DataError("The data have no rows: give at least one observation.")
    channels = choose_channels(table.columns, target)
    if require_values and not channels:
        raise DataError("The data have no value columns: add at least one beside id and time.")
    refuse_tidy(table, channels, target is not None)
    values = np.empty((len(table.times), len(channels)))
    for j, channel in enumerate(channels):
        values[:, j] = _read_channel(table, channel, has_settings)
    if require_values and np.isnan(values).all():
        raise DataError("All values are NaN, so nothing was observed: check how the data were read or joined.")

    order = np.lexsort((table.times, table.codes))
    codes, times, values = table.codes[order], table.times[order], values[order]
    is_first = np.ones(len(times), dtype=bool)
    is_first[1:] = (codes[1:] != codes[:-1]) | (times[1:] != times[:-1])
    if not is_first.all():
        starts = np.flatnonzero(is_first)
        counts = np.add.reduceat(~np.isnan(values), starts, axis=0, dtype=np.int64)
        if duplicates == "error" and (counts > 1).any():
            row, channel_at = np.argwhere(counts > 1)[0]
            at = starts[row]
            time, channel = times[at : at + 1], channels[channel_at]
            fault = _fault_of_duplicate(table, int(codes[at]), time, channel, counts[row, channel_at])
            raise DataError(fault + _way_out_of_duplicate(table, time, channel, has_settings))
        sums = np.add.reduceat(np.nan_to_num(values), starts, axis=0)
        values = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        codes, times = codes[starts], times[starts]
    cuts = np.searchsorted(codes, np.arange(1, len(table.ids)))
    if target is not None:
        warn_tidy(table, channels)
    n = len(table.ids)  # of a frame without rows: none, where `np.split` gives one piece
    return Panel(table.ids, np.split(times, cuts)[:n], np.split(values, cuts)[:n], channels, table.layout)


def choose_channels(columns: pd.DataFrame, target: Any) -> list[Hashable]:
    """Labels of the columns to read; None means all.

    Raises
    ------
    DataError
        If there is no such column.
    """
    names: list[Hashable] = list(columns.columns)
    if target is None:
        return names
    # A tuple may be the label of one column or several labels.
    is_label = isinstance(target, Hashable) and (target in names or not isinstance(target, tuple))
    wanted = [target] if is_label else list(target)
    for label in wanted:
        if label not in names:
            raise DataError(
                f"There is no column {label!r} to read as target.{guess_label(label, names)} "
                f"The columns beside id and time are {names}."
            )
    return wanted


def _read_channel(table: Table, channel: Hashable, has_settings: bool) -> np.ndarray:
    column = table.columns[channel]
    try:
        values = as_numbers(column)
    except OverflowError as error:  # of whole numbers as Python has them
        raise DataError(
            f"Column {channel!r} holds a number that is too large for float64: correct it, or replace it by NaN."
        ) from error
    if values is None:
        kind = pd.api.types.infer_dtype(column, skipna=True)
        numeric = [c for c in table.columns.columns if table.columns[c].dtype.kind in "biuf"]
        choice = f", or choose the channels with target={numeric}" if numeric and has_settings else ""
        raise DataError(
            f"Column {channel!r} holds {kind} values ({column.dtype}), not numbers: drop it, encode it as numbers"
            f"{choice}."
            + (f" {describe_tidy(table, numeric[0], channel)}" if len(numeric) == 1 else "")
            + (f" If it tells series apart, pass id_col={channel!r}." if table.layout.kind == "wide" else "")
        )
    infinite = np.isinf(values)
    if infinite.any():
        row = int(infinite.argmax())
        raise DataError(
            f"Column {channel!r} is infinite at row {row} (index {column.index[row]!r}, {int(infinite.sum())} in all): "
            "replace it by NaN where nothing was observed, `df.replace([np.inf, -np.inf], np.nan)`."
        )
    return values


def _fault_of_duplicate(table: Table, code: int, time: np.ndarray, channel: Hashable, count: int) -> str:
    at = restore_times(time, table.layout.time_dtype)[0]
    series = f"Series {table.ids[code]!r}" if _has_ids(table) else "The series"
    return f"{series} has {count} values of {channel!r} at {at}"


def _way_out_of_duplicate(table: Table, time: np.ndarray, channel: Hashable, has_settings: bool) -> str:
    dtype = str(table.layout.time_dtype).lower()
    if dtype.startswith(("float32", "float16", "float[", "halffloat")):
        spacing = np.spacing(np.abs(time.astype(np.float16 if "16" in dtype or "half" in dtype else np.float32))[0])
        gaps = np.diff(np.unique(table.times))
        if not len(gaps) or spacing >= 0.1 * np.median(gaps):  # else what was given is twice there
            return (
                f". The times are {dtype}, which at this size are rounded to multiples of {spacing:g}, so that "
                "distinct times became one: pass them as float64, or datetimes, before they are rounded."
            )
    tidy = describe_tidy(table, channel)
    if tidy:
        return f". {tidy}"
    mean = ", or pass duplicates='mean' to average them" if has_settings else ""
    others = " If the rows are of several series, name the column that tells them apart: id_col=."
    return f": drop all but one{mean}." + ("" if _has_ids(table) else others)


def _has_ids(table: Table) -> bool:
    return table.layout.id_col is not None or table.layout.kind == "list"

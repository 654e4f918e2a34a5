"""Reading of any container as a `Panel`, or an error that says how to mend it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tsode.errors import DataError, ParameterError
from tsode.frames.index import restore_times
from tsode.frames.labels import guess_label
from tsode.frames.panel import Panel
from tsode.frames.table import ID_COL, TIME_COL, Table, open_table

__all__ = ["read_panel"]

_NUMBERS = ("boolean", "decimal", "empty", "floating", "integer", "mixed-integer-float")


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
    if duplicates not in ("error", "mean"):
        raise ParameterError(f"duplicates={duplicates!r} is not known: choose 'error' or 'mean'.")
    table = open_table(data, id_col, time_col)
    if require_values and not len(table.times):
        raise DataError("The data have no rows: give at least one observation.")
    channels = _choose_channels(table.columns, target)
    if require_values and not channels:
        raise DataError("The data have no value columns: add at least one beside id and time.")
    values = np.empty((len(table.times), len(channels)))
    for j, channel in enumerate(channels):
        values[:, j] = _read_channel(table, channel)
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
            _refuse_duplicate(table, int(codes[at]), times[at : at + 1], channels[channel_at], counts[row, channel_at])
        sums = np.add.reduceat(np.nan_to_num(values), starts, axis=0)
        values = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        codes, times = codes[starts], times[starts]
    cuts = np.searchsorted(codes, np.arange(1, len(table.ids)))
    n = len(table.ids)  # of a frame without rows: none, where `np.split` gives one piece
    return Panel(table.ids, np.split(times, cuts)[:n], np.split(values, cuts)[:n], channels, table.layout)


def _choose_channels(columns: pd.DataFrame, target: Any) -> list[Hashable]:
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


def _read_channel(table: Table, channel: Hashable) -> np.ndarray:
    column = table.columns[channel]
    if column.dtype == object:
        column = column.infer_objects()
        # A missing value (pd.NA, or None beside bools or decimals) keeps the column an object.
        if pd.api.types.infer_dtype(column, skipna=True) in _NUMBERS:
            try:
                column = pd.Series(column.to_numpy(dtype=np.float64, na_value=np.nan), index=column.index)
            except OverflowError as error:  # of whole numbers as Python has them
                raise DataError(
                    f"Column {channel!r} holds a number that is too large for float64: correct it, or replace it by "
                    "NaN."
                ) from error
    if column.dtype.kind not in "biuf":
        kind = pd.api.types.infer_dtype(column, skipna=True)
        numeric = [c for c in table.columns.columns if table.columns[c].dtype.kind in "biuf"]
        raise DataError(
            f"Column {channel!r} holds {kind} values ({column.dtype}), not numbers: drop it, encode it as numbers, "
            f"or choose the channels with target={numeric}."
            + (f" If it tells series apart, pass id_col={channel!r}." if table.layout.kind == "wide" else "")
        )
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    infinite = np.isinf(values)
    if infinite.any():
        row = int(infinite.argmax())
        raise DataError(
            f"Column {channel!r} is infinite at row {row} (index {column.index[row]!r}, {int(infinite.sum())} in all): "
            "replace it by NaN where nothing was observed, `df.replace([np.inf, -np.inf], np.nan)`."
        )
    return values


def _refuse_duplicate(table: Table, code: int, time: np.ndarray, channel: Hashable, count: int) -> None:
    at = restore_times(time, table.layout.time_dtype)[0]
    has_ids = table.layout.id_col is not None or table.layout.kind == "list"
    raise DataError(
        (f"Series {table.ids[code]!r}" if has_ids else "The series")
        + f" has {count} values of {channel!r} at {at}: drop all but one, or pass duplicates='mean' to average them."
        + ("" if has_ids else " If the rows are of several series, name the column that tells them apart: id_col=.")
    )

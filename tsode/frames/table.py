"""Table: the rows of any container as ids, times and the columns that are neither."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from tsode.errors import DataError
from tsode.frames.foreign import native_to_pandas
from tsode.frames.index import join_times, native_times, restore_times
from tsode.frames.known_ids import bare
from tsode.frames.labels import guess_label
from tsode.frames.meeting import check_one_type
from tsode.frames.panel import Layout

__all__ = ["ID_COL", "TIME_COL", "UNNAMED", "Table", "open_table", "without_attributes"]

ID_COL, TIME_COL = "unique_id", "ds"
# The channel of a Series without a name.
UNNAMED = "y"
_USUAL_TIME_NAMES = {"time", "times", "date", "datetime", "timestamp", "t", "ts"}


@dataclass(frozen=True, eq=False)
class Table:
    """A container taken apart, rows in its own order.

    Parameters
    ----------
    ids : list of label
        In order of appearance; ``[0]`` where the container has none.
    codes : array[n]
        Position in `ids` of each row.
    times : array[n]
        Native times.
    columns : pd.DataFrame
        The other columns, unread.
    index : pd.Index
        Of the container's rows.
    layout : Layout
    """

    ids: list[Hashable]
    codes: np.ndarray
    times: np.ndarray
    columns: pd.DataFrame
    index: pd.Index
    layout: Layout


def open_table(data: Any, id_col: Hashable = ID_COL, time_col: Hashable = TIME_COL) -> Table:
    """Find ids and times in a Series, a wide, long or MultiIndex frame, a list of Series or frames, or a polars frame.

    Raises
    ------
    DataError
        If `data` is none of these, or its ids or times cannot be read.
    """
    if isinstance(data, pd.Series) and data.dtype == object and _all_pandas(data.tolist()):
        data = data.tolist()
    if isinstance(data, pd.Series):
        return _open_series(data)
    if isinstance(data, np.ndarray | list | tuple) and len(data) and _all_pandas(list(data)):
        return _open_list(list(data))
    backend = "pandas"
    if not isinstance(data, pd.DataFrame):
        data, backend = _to_pandas(data, id_col, time_col)
    repeated = data.columns[data.columns.duplicated()]
    if len(repeated):
        raise DataError(f"The column {repeated[0]!r} occurs more than once: rename or drop one of them.")
    if backend != "pandas" and time_col not in data.columns:  # row numbers, which are no index there
        raise DataError(f"There is no time column {time_col!r}.{_describe_columns(data, time_col, 'time_col')}")
    if isinstance(data.index, pd.MultiIndex):
        return _open_multiindex(data)
    table = _open_frame(data, id_col, time_col)
    return replace(table, layout=replace(table.layout, backend=backend))


def _open_series(series: pd.Series) -> Table:
    if isinstance(series.index, pd.MultiIndex):
        name = UNNAMED if series.name is None else series.name
        table = _open_multiindex(series.to_frame(name))
        return replace(table, layout=replace(table.layout, is_squeezed=True, is_unnamed=series.name is None))
    times, dtype = native_times(series.index, "The index of the Series")
    layout = Layout(
        "series", time_col=series.index.name, time_dtype=dtype, is_squeezed=True, is_unnamed=series.name is None
    )
    columns = series.to_frame(UNNAMED if series.name is None else series.name)
    return Table([0], np.zeros(len(series), dtype=np.intp), times, columns, series.index, layout)


def _open_list(items: list[Any]) -> Table:
    if len({isinstance(item, pd.Series) for item in items}) > 1:
        raise DataError("The list holds Series and frames: give all of one kind.")
    is_squeezed = isinstance(items[0], pd.Series)
    names = [None if _is_nan(item.name) else item.name for item in items] if is_squeezed else []
    shared = names[0] if names and len(set(names)) == 1 and len(names) > 1 else None
    ids_are_names = is_squeezed and None not in names and len(set(names)) == len(items)
    ids: list[Hashable] = list(names) if ids_are_names else list(range(len(items)))
    filled = [item for item in items if len(item)] or items[:1]
    index = _join_indexes([item.index for item in filled])
    times, dtype = native_times(index, "The index of the Series in the list")
    channel = UNNAMED if shared is None else shared
    parts = [item.to_frame(channel) if is_squeezed else item for item in filled]
    columns = pd.concat([without_attributes(part) for part in parts], ignore_index=True)
    layout = Layout(
        "list",
        time_col=index.name,
        time_dtype=dtype,
        column_names=tuple(columns.columns.names),
        is_squeezed=is_squeezed,
        is_unnamed=is_squeezed and shared is None,
        ids_are_names=ids_are_names,
    )
    codes = np.repeat(np.arange(len(items)), [len(item) for item in items])
    return Table(ids, codes, times, columns, index, layout)


def _join_indexes(parts: list[pd.Index]) -> pd.Index:
    """All set end to end; datetimes in ticks of several lengths in ticks that hold all."""
    kinds = {part.dtype.kind for part in parts}
    if len({part.dtype for part in parts}) > 1 and (kinds == {"M"} or kinds == {"m"}):
        zones = {str(getattr(part.dtype, "tz", None)) for part in parts}
        if len(zones) == 1:
            read = [native_times(part, "The index of a Series in the list") for part in parts]
            joined = np.concatenate(join_times([times for times, _ in read]))
            return restore_times(joined, read[0][1]).rename(parts[0].name)
    return parts[0].append(parts[1:])


def _open_multiindex(frame: pd.DataFrame) -> Table:
    index = frame.index
    if index.nlevels != 2:
        raise DataError(
            f"The index has {index.nlevels} levels ({list(index.names)}): give two, the id and the time. "
            "Join the others into one id first, or, where one names channels, make it columns with `.unstack(...)`."
        )
    id_name, time_name = index.names
    try:
        times, time_dtype = native_times(index.get_level_values(1), f"The index level {time_name!r}")
    except DataError as error:
        if index.get_level_values(0).dtype.kind not in "Mm":
            raise
        raise DataError(f"The index holds times before ids: swap its levels with `df.swaplevel()`. {error}") from error
    ids, codes = _read_ids(pd.Series(index.get_level_values(0)), f"The index level {id_name!r}")
    layout = Layout(
        "multiindex",
        id_name,
        time_name,
        id_dtype=index.get_level_values(0).dtype,
        time_dtype=time_dtype,
        column_names=tuple(frame.columns.names),
    )
    return Table(ids, codes, times, frame, index, layout)


def _open_frame(frame: pd.DataFrame, id_col: Hashable, time_col: Hashable) -> Table:
    has_id = id_col in frame.columns
    time_in_index = time_col not in frame.columns
    misspelt = [c for c in frame.columns if c != id_col and bare(c) == bare(id_col)]
    if not has_id and (id_col != ID_COL or misspelt):
        raise DataError(f"There is no id column {id_col!r}.{_describe_columns(frame, id_col, 'id_col')}")
    if frame.columns.nlevels > 1 and any({id_col, time_col} & set(label) for label in frame.columns):
        raise DataError("The columns have several levels: flatten them, or put the times into the index.")
    if time_in_index:
        _check_time_index(frame, id_col, time_col)
    where = "The index" if time_in_index else f"The time column {time_col!r}"
    times, time_dtype = native_times(frame.index if time_in_index else pd.Index(frame[time_col]), where)
    ids: list[Hashable] = [0]
    codes = np.zeros(len(frame), dtype=np.intp)
    if has_id:
        ids, codes = _read_ids(frame[id_col], f"The id column {id_col!r}")
    columns = frame.drop(columns=[c for c, inside in ((id_col, has_id), (time_col, not time_in_index)) if inside])
    layout = Layout(
        "long" if has_id else "wide",
        id_col if has_id else None,
        frame.index.name if time_in_index else time_col,
        time_in_index,
        frame[id_col].dtype if has_id else None,
        time_dtype,
        tuple(frame.columns.names),
    )
    return Table(ids, codes, times, columns, frame.index, layout)


def _check_time_index(frame: pd.DataFrame, id_col: Hashable, time_col: Hashable) -> None:
    """An index of row numbers is only taken for times where no column could have been meant."""
    is_named = frame.index.name is not None and frame.index.name == time_col
    misspelt = [c for c in frame.columns if bare(c) == bare(time_col)]
    if misspelt or (time_col != TIME_COL and not is_named):
        raise DataError(f"There is no time column {time_col!r}.{_describe_columns(frame, time_col, 'time_col')}")
    if frame.index.dtype.kind in "Mmf" or is_named:
        return
    dated = [c for c in frame.columns if frame[c].dtype.kind in "Mm" or str(c).lower() in _USUAL_TIME_NAMES]
    if dated:
        raise DataError(
            f"There is no time column {time_col!r}: if {dated[0]!r} holds the times, pass time_col={dated[0]!r}."
        )
    if id_col in frame.columns:
        raise DataError(f"There is no time column {time_col!r}.{_describe_columns(frame, time_col, 'time_col')}")


def _describe_columns(frame: pd.DataFrame, wanted: Hashable, argument: str) -> str:
    names = list(frame.columns)
    return f"{guess_label(wanted, names)} The columns are {names}: add it, or name another with {argument}=."


def _read_ids(ids: pd.Series, where: str) -> tuple[list[Hashable], np.ndarray]:
    try:
        codes, uniques = pd.factorize(ids)
    except TypeError as error:
        raise DataError(
            f"{where} holds values that cannot be ids ({error}): use strings, numbers or tuples."
        ) from error
    if (codes < 0).any():
        raise DataError(f"{where} has no id (None or NaN) at row {int((codes < 0).argmax())}: drop or name such rows.")
    if ids.dtype == object:
        check_one_type(ids, where)
    return uniques.tolist(), codes


def _is_nan(label: Hashable) -> bool:
    return isinstance(label, float) and np.isnan(label)


def without_attributes(frame: pd.DataFrame) -> pd.DataFrame:
    """The same rows without `attrs`, which `pd.concat` compares even where they are arrays."""
    bare = frame.copy(deep=False)
    bare.attrs = {}
    return bare


def _all_pandas(items: list[Any]) -> bool:
    return len(items) > 0 and all(isinstance(item, pd.Series | pd.DataFrame) for item in items)


def _to_pandas(data: Any, id_col: Hashable, time_col: Hashable) -> tuple[pd.DataFrame, str]:
    """The frame in pandas, and the backend of its layout."""
    native = nw.from_native(data, pass_through=True)
    if isinstance(native, nw.DataFrame):
        backend = native.implementation.value
        return native_to_pandas(native), backend if backend in ("polars", "pyarrow") else "pandas"
    if isinstance(native, nw.LazyFrame):
        raise DataError(f"The data are a lazy frame ({type(data).__name__}): collect it first, with `data.collect()`.")
    shape = f" of shape {np.shape(data)}" if isinstance(data, np.ndarray) else ""
    raise DataError(
        f"The data are of type {type(data).__name__}{shape}, which says nothing about times: give a Series indexed "
        f"by time, `pd.Series(values, index=times)`, or a frame with the columns {id_col!r}, {time_col!r} and channels."
    )

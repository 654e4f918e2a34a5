"""Tables in files: CSV or parquet by the ending of the name, times parsed where they are written out."""

from __future__ import annotations

import gzip
import io
import re
import sys
import warnings
from collections.abc import Collection
from typing import Any

import pandas as pd

from tsode._files import whole_file
from tsode.cli.csv_text import STDIN, read_csv, refuse_commas
from tsode.errors import DataError, TsodeWarning

__all__ = ["check_ending", "describe_table", "read_table", "write_table", "write_text"]

_CSV, _PARQUET = (".csv", ".csv.gz", ".tsv", ".tsv.gz"), (".parquet",)
_OFFSET = r"(?:[Zz]|[+-]\d\d:?(?:\d\d)?)\s*$"
_NUMBER = r"\s*[+-]?\d+(?:\.\d*)?\s*"  # which pandas would take for nanoseconds
_MOST_NAMES = 8


def read_table(
    path: str,
    time_col: str | None,
    id_col: str | None = None,
    *,
    target: Collection[str] | None = None,
    as_text: Collection[str] = (),
    has_codes: bool = False,
    decimal: str = ".",
) -> pd.DataFrame:
    """Read a CSV or parquet file, of rows with times unless `time_col` is None.

    Times that are strings are read as dates in the order year, month, day, or as durations; any other order could be
    read in two ways and is refused. Ids in CSV are text, as they are written there.

    Parameters
    ----------
    path : str
        "-" is CSV on standard input.
    time_col, id_col : str or None
    target : collection of str, optional
        Columns that must be numbers; None = all others.
    as_text : collection of str
        Further columns of names, which are text as ids are.
    has_codes : bool
        Whether a column of CSV with numbers like 007 is one of names, too.
    decimal : str
        Of the numbers in CSV.

    Warns
    -----
    TsodeWarning
        Where a column is left out, or numbers may have been meant as dates.

    Raises
    ------
    DataError
        If the file cannot be read, has no column of times, or its times are neither numbers, dates nor durations.
    """
    ending = check_ending(path)
    names = [name for name in (id_col, time_col) if name is not None]
    if ending in _PARQUET:
        frame = _read_parquet(path)
    else:
        texts = {*as_text} | ({id_col} if id_col is not None else set())
        named = [*names, *(target or ()), *as_text]
        plain = None if not has_codes else {name for name in (time_col, *(target or ())) if name is not None}
        frame, dropped = read_csv(path, named=named, as_text=texts, plain=plain, decimal=decimal)
        for what in dropped:
            warnings.warn(f"{path!r}: dropped {what}.", TsodeWarning, stacklevel=2)
    levels = [name for name in names if name not in frame.columns and name in frame.index.names]
    if levels:
        frame = frame.reset_index()
    if ending not in _PARQUET:
        numbers = frame.columns if target is None else [name for name in (time_col, *target) if name in frame.columns]
        refuse_commas(frame, [name for name in numbers if name != id_col and name not in as_text], path, decimal)
    if time_col is None:
        return frame
    if time_col not in frame.columns:
        raise DataError(
            f"{path!r} has no column {time_col!r} of times; it has {', '.join(map(repr, frame.columns))}: name it "
            "with --time-col."
        )
    if not len(frame):
        raise DataError(f"{path!r} has the names of columns, but no rows: give at least one.")
    times = frame[time_col]
    if pd.api.types.is_string_dtype(times) and times.notna().any():
        frame[time_col] = _parse_times(times, path)
    elif _are_days_as_numbers(times):
        warnings.warn(
            f"{path!r}: times such as {times.iloc[0]} are read as numbers: write 2024-03-31 if they are days of the "
            "calendar.",
            TsodeWarning,
            stacklevel=2,
        )
    return frame


def describe_table(frame: pd.DataFrame, path: str, id_col: str, time_col: str | None, target: Any = None) -> str:
    """A line that says what was read: series, rows, columns beside ids and times, and the span of time."""
    n_series = frame[id_col].nunique() if id_col in frame.columns else 1
    names = [name for name in frame.columns if name not in (id_col, time_col)] if target is None else list(target)
    shown = ", ".join(map(repr, names[:_MOST_NAMES])) + (", ..." if len(names) > _MOST_NAMES else "")
    span = ""
    if time_col is not None and frame[time_col].notna().any():
        span = f", {time_col} from {frame[time_col].min()} to {frame[time_col].max()}"
    return f"{path!r}: {n_series} series, {len(frame)} rows, {len(names)} channels ({shown}){span}"


def write_table(frame: pd.DataFrame, path: str | None) -> None:
    """Write a frame to a CSV or parquet file, whole or not at all, or as CSV to standard output where there is no path.

    CSV is UTF-8 wherever it goes.
    """
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    if path is None or path == STDIN:
        write_text(frame.to_csv(index=False))
        return
    ending = check_ending(path)
    with whole_file(path) as file:
        if ending in _PARQUET:
            frame.to_parquet(file, index=False)
        else:
            text = frame.to_csv(index=False, sep="\t" if "tsv" in ending else ",").encode("utf-8", "surrogateescape")
            file.write(gzip.compress(text) if ending.endswith(".gz") else text)


def write_text(text: str) -> None:
    """Write text to standard output, in UTF-8 whatever the terminal speaks, and see that it has arrived.

    Raises
    ------
    OSError
        If standard output is closed, or what it leads to is full.
    """
    out = sys.stdout
    if out is None or out.closed:
        raise OSError("Standard output is closed: write to a file with --out.")
    buffer = getattr(out, "buffer", None)
    if isinstance(buffer, io.IOBase):
        out.flush()
        rest = memoryview(text.encode("utf-8", "surrogateescape"))
        while rest:  # an unbuffered one may take a part
            rest = rest[buffer.write(rest) :]  # type: ignore[attr-defined]
    else:  # a notebook's
        out.write(text)
    out.flush()


def check_ending(path: str) -> str:
    """The ending of a name that can be read and written.

    Raises
    ------
    DataError
        If it is another, or the name is an address on the network.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path):
        raise DataError(f"{path!r} is an address, but only files are read and written: fetch it first.")
    if path == STDIN:
        return ".csv"
    found = [ending for ending in (*_CSV, *_PARQUET) if path.lower().endswith(ending)]
    if not found:
        raise DataError(
            f"{path!r} has no ending that is known: give a file that ends in .csv or .parquet (or .tsv, .csv.gz)."
        )
    return found[0]


def _read_parquet(path: str) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except ValueError as error:  # not parquet
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path!r} cannot be read as parquet: {reason}") from error
    if not frame.columns.is_unique:
        raise DataError(f"{path!r} has the column {frame.columns[frame.columns.duplicated()][0]!r} more than once.")
    return frame


def _are_days_as_numbers(times: pd.Series) -> bool:
    """Whether all times are whole numbers that read like 20240331."""
    if times.dtype.kind not in "iu" or not len(times) or not times.between(19000101, 21001231).all():
        return False
    return bool(pd.to_datetime(times.astype(str), format="%Y%m%d", errors="coerce").notna().all())


def _parse_times(column: pd.Series, path: str) -> pd.Series:
    text = column.dropna().astype(str)
    has_offset = text.str.contains(_OFFSET) & text.str.contains(":")
    if has_offset.any() and not has_offset.all():
        with_one, without = text[has_offset].iloc[0], text[~has_offset].iloc[0]
        raise DataError(
            f"Some times in {path!r} have an offset from UTC ({with_one!r}) and some have none ({without!r}), so it is "
            "not known when those are: write all with one, or none."
        )
    try:
        return pd.to_datetime(column, format="ISO8601")
    except (ValueError, OverflowError) as no_date:
        if "mixed time" in str(no_date).lower():  # summer and winter: one instant each, shown in UTC
            return pd.to_datetime(column, format="ISO8601", utc=True)
    is_wrong = text.str.fullmatch(_NUMBER) | pd.to_timedelta(text, errors="coerce").isna()
    if not is_wrong.any():
        return pd.to_timedelta(column)
    is_date = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce").notna()
    wrong = text[is_wrong & ~is_date] if (is_wrong & ~is_date).any() else text[is_wrong]
    raise DataError(
        f"The times in {path!r}, such as {wrong.iloc[0]!r} ({column.name!r}), are neither numbers, dates like "
        "2024-03-31 14:30 nor durations like 2h: write them so."
    )

"""Tables in files: CSV or parquet by the ending of the name, times parsed where they are written out."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from tsode.errors import DataError

__all__ = ["read_table", "write_table"]

_ENDINGS = (".csv", ".parquet")


def read_table(path: str, time_col: str | None) -> pd.DataFrame:
    """Read a CSV or parquet file, of rows with times unless `time_col` is None.

    Times that are strings are read as dates in the order year, month, day, or as durations; any other order could be
    read in two ways and is refused.

    Raises
    ------
    DataError
        If the file cannot be read, has no column of times, or its times are neither numbers, dates nor durations.
    """
    ending = _ending(path)
    try:
        frame = pd.read_csv(path) if ending == ".csv" else pd.read_parquet(path)
    except ValueError as error:  # of the parsers: not CSV, not parquet, not text
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path!r} cannot be read as {ending[1:]}: {reason}") from error
    if time_col is None:
        return frame
    if time_col not in frame.columns:
        if time_col in frame.index.names:
            frame = frame.reset_index()
        else:
            raise DataError(
                f"{path!r} has no column {time_col!r} of times; it has {', '.join(map(repr, frame.columns))}: name it "
                "with --time-col."
            )
    if pd.api.types.is_string_dtype(frame[time_col]) and len(frame):
        frame[time_col] = _parse_times(frame[time_col], path)
    return frame


def write_table(frame: pd.DataFrame, path: str | None) -> None:
    """Write a frame to a CSV or parquet file, or as CSV to standard output where there is no path."""
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    if path is None:
        frame.to_csv(sys.stdout, index=False)
    elif _ending(path) == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)


def _ending(path: str) -> str:
    ending = Path(path).suffix.lower()
    if ending not in _ENDINGS:
        raise DataError(f"{path!r} ends in {ending!r}: give a file that ends in .csv or .parquet.")
    return ending


def _parse_times(column: pd.Series, path: str) -> pd.Series:
    try:
        return pd.to_datetime(column, format="ISO8601")
    except ValueError as no_date:
        if "mixed time" in str(no_date).lower():  # summer and winter: one instant each, shown in UTC
            return pd.to_datetime(column, format="ISO8601", utc=True)
    try:
        return pd.to_timedelta(column)
    except ValueError as error:
        raise DataError(
            f"The times in {path!r}, such as {column.iloc[0]!r} ({column.name!r}), are neither numbers, dates like "
            "2024-03-31 14:30 nor durations like 2h: write them so."
        ) from error

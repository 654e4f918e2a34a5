"""Records of a table with NONMEM's columns: numbers, one row a record, in the order of time."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tsode.core.time_sums import shift_times
from tsode.errors import DataError
from tsode.frames.events import open_rows
from tsode.frames.labels import guess_label

__all__ = ["find_compartments", "read_numbers", "read_records"]

_NUMBERS = ("TIME", "EVID", "AMT", "RATE", "II", "ADDL", "SS", "CMT", "MDV", "DV", "DVID", "ALAG")


def read_records(data: Any, places: Sequence[str] | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the records of a table, and the table as a pandas frame.

    Parameters
    ----------
    data : DataFrame or polars frame
    places : sequence of str, optional
        Where each row stands, for messages.

    Returns
    -------
    records : DataFrame
        ``ID``, ``TIME``, ``EVID``, ``AMT`` (NaN where there is none), ``CMT`` (as given), ``RATE``, ``II``, ``ADDL``,
        ``SS`` (0 where there is none), ``is_unsaid``: whether neither of the last two is given, and ``place``, for
        messages. A clock that a reset has set back goes on: see `events_from_nonmem`.
    frame : DataFrame

    Raises
    ------
    DataError
        If a column is missing or holds no numbers, an EVID is not known, or a time goes back without a reset.
    """
    frame = open_rows(data, "A NONMEM table", "pd.DataFrame({'ID': ..., 'TIME': ..., 'AMT': ...})")
    for name in ("ID", "TIME"):
        if name not in frame.columns:
            raise DataError(
                f"There is no column {name!r}.{guess_label(name, list(frame.columns))} NONMEM's names are in capitals; "
                f"the columns are {list(frame.columns)}."
            )
    for label in frame.columns:
        if str(label) not in _NUMBERS and str(label).upper() in _NUMBERS:
            raise DataError(f"The column {label!r} would not be read: NONMEM's names are in capitals, rename it.")
    table = pd.DataFrame({"ID": frame["ID"].to_numpy()})
    for name in ("TIME", "RATE", "II", "ADDL", "SS"):
        table[name] = read_numbers(frame, name)
    table["AMT"] = read_numbers(frame, "AMT", missing=np.nan)
    table["is_unsaid"] = True
    for name in ("ADDL", "SS"):
        table["is_unsaid"] &= np.isnan(read_numbers(frame, name, missing=np.nan))
    table["CMT"] = frame["CMT"].to_numpy() if "CMT" in frame.columns else np.zeros(len(frame))
    is_dose = (table["AMT"].fillna(0.0) != 0) | (table["RATE"] != 0) | (table["SS"] != 0)
    table["EVID"] = read_numbers(frame, "EVID") if "EVID" in frame.columns else is_dose.astype(np.float64)
    unknown = ~table["EVID"].isin([0, 1, 2, 3, 4, 5, 6])
    if unknown.any():
        raise DataError(f"EVID={table['EVID'][unknown].iloc[0]:g} is not known: NONMEM's are 0 to 4, and 5 and 6 here.")
    table["place"] = [f"row {row}" for row in range(len(table))] if places is None else list(places)
    return table.assign(TIME=_running_times(table)), frame


def read_numbers(frame: pd.DataFrame, name: str, missing: float = 0.0) -> np.ndarray:
    """The numbers of a column, in which "." and an empty cell are `missing`; all are where there is no such column.

    Raises
    ------
    DataError
        If it holds anything else, or a TIME is missing.
    """
    if name not in frame.columns:
        return np.full(len(frame), missing)
    column = frame[name].astype(object)
    text = column.map(lambda entry: entry.strip() if isinstance(entry, str) else entry)
    try:
        numbers = pd.to_numeric(text.where(~text.isin([".", ""])), errors="raise").to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"The column {name} must hold numbers, but {error}.") from error
    if name == "TIME" and not np.isfinite(numbers).all():
        raise DataError(f"There is no TIME at row {int((~np.isfinite(numbers)).argmax())}.")
    if np.isinf(numbers).any():
        raise DataError(f"The column {name} is infinite at row {int(np.isinf(numbers).argmax())}.")
    return np.where(np.isnan(numbers), missing, numbers)


def find_compartments(column: pd.Series, states: Sequence[Hashable] | None) -> list[Hashable | None]:
    """State of each CMT: its name, or its place counted from 0 where there are no names; None where none is given.

    Raises
    ------
    DataError
        If there is no such compartment.
    """
    return [_find_compartment(entry, states) for entry in column.tolist()]


def _find_compartment(entry: Any, states: Sequence[Hashable] | None) -> Hashable | None:
    if states is not None and entry in states:
        return entry
    number = pd.to_numeric(entry, errors="coerce")
    if pd.isna(number) and not (pd.isna(entry) or entry in (".", "")):
        raise DataError(f"CMT={entry!r} is no state: pass states= with the names of the compartments.")
    if number < 0 or number % 1 > 0:
        raise DataError(f"CMT={entry!r}: compartments are counted from 1, and cannot be switched off.")
    if pd.isna(number) or number == 0:
        return None
    if states is not None and number > len(states):
        raise DataError(f"CMT={entry!r}, but states= names {len(states)} compartments: {list(states)}.")
    return int(number) - 1 if states is None else states[int(number) - 1]


def _running_times(table: pd.DataFrame) -> np.ndarray:
    """Times that never go back: what comes after a reset that sets the clock back is moved on by a power of ten."""
    goes_back = table["TIME"].groupby(table["ID"]).diff() < 0
    is_wrong = goes_back & ~table["EVID"].isin([3, 4])
    if is_wrong.any():
        row = int(is_wrong.to_numpy().argmax())
        label = table["ID"].tolist()[row]
        raise DataError(
            f"TIME goes back to {table['TIME'][row]:g} in ID {label!r} at {table['place'][row]}: sort the table; only "
            "a reset (EVID 3 or 4) starts the clock again."
        )
    times = table["TIME"].to_numpy()
    if not goes_back.any():
        return times
    step = 10.0 ** (np.floor(np.log10(np.ptp(times))) + 1)
    n_before = goes_back.groupby(table["ID"]).cumsum().fillna(0).to_numpy(dtype=np.int64)
    return shift_times(times, np.full(len(times), step), n_before)

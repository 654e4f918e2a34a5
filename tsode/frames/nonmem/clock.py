"""Clock times and dates of a data file, as hours since the first record of each individual."""

from __future__ import annotations

import datetime
import re
from typing import Any

import numpy as np

from tsode.errors import DataError
from tsode.frames.nonmem.cells import Cells, to_number

__all__ = ["read_spans", "read_times"]

_ORDERS = {"DATE": "mdy", "DAT1": "dmy", "DAT2": "ymd", "DAT3": "ydm"}
_LAST_OF_20 = 50  # NM-TRAN's LAST20: years of two digits up to it are 20xx, the others 19xx
_CLOCK = re.compile(r"([+-]?)(\d+):(\d{1,2})(?::(\d{1,2}(?:\.\d*)?))?")


def read_times(cells: Cells) -> tuple[np.ndarray, str]:
    """Times of records, and what they are.

    With a colon in any of them, or with a date, all are hours since the first record of their ID, as NM-TRAN has it;
    else they are the numbers that they are.

    Raises
    ------
    DataError
        If a time or a date is missing or cannot be read.
    """
    empty = cells.frame["TIME"].isna().to_numpy()
    if empty.any():
        raise DataError(f"There is no TIME in {cells.where(int(empty.argmax()))}: fill it in, or drop the row.")
    dated = [name for name in _ORDERS if name in cells]
    if len(dated) > 1:
        raise DataError(f"{dated[0]} and {dated[1]} both give dates: leave one out by columns=.")
    if not dated and not any(":" in str(cell) for cell in cells.frame["TIME"]):
        return cells.numbers("TIME"), "as they stand"
    hours = np.array([_hours(cells, "TIME", row) for row in range(len(cells.frame))])
    if dated:
        hours += 24.0 * np.array([_day(cells, dated[0], row) for row in range(len(hours))])
    ids = cells.frame["ID"].tolist()
    first = dict(zip(reversed(ids), hours[::-1]))
    times = hours - np.array([first[key] for key in ids])
    return np.round(times, 9), f"hours since the first record of an ID{', by ' + dated[0] if dated else ''}"


def read_spans(cells: Cells, name: str) -> np.ndarray:
    """Numbers of a column of intervals, 0 where there is none; those with a colon are hours and minutes."""
    if name not in cells or not any(":" in str(cell) for cell in cells.frame[name]):
        return cells.numbers(name, missing=0.0)
    return np.array([0.0 if cells.frame[name].iloc[row] is None else _hours(cells, name, row)
                     for row in range(len(cells.frame))])  # fmt: skip


def _hours(cells: Cells, name: str, row: int) -> float:
    cell: Any = cells.frame[name].iloc[row]
    found = _CLOCK.fullmatch(cell) if isinstance(cell, str) else None
    if isinstance(cell, datetime.time):
        return cell.hour + cell.minute / 60 + cell.second / 3600
    if found is None:
        number = to_number(cell)
        if number is None:
            raise DataError(f"{name} is {cell!r} in {cells.where(row)}, which is no time: write 14:30 or a number.")
        return number
    minutes, seconds = int(found[3]), float(found[4] or 0.0)
    if minutes >= 60 or seconds >= 60:
        raise DataError(f"{name} is {cell!r} in {cells.where(row)}, which has too many minutes or seconds.")
    size = int(found[2]) + minutes / 60 + seconds / 3600
    return -size if found[1] == "-" else size


def _day(cells: Cells, name: str, row: int) -> float:
    """Number of a day; one number is one already, two are month and day of a year that has no leap day."""
    cell: Any = cells.frame[name].iloc[row]
    if isinstance(cell, datetime.date):
        return cell.toordinal()
    text = "" if cell is None else str(cell)
    number = to_number(text)
    if number is not None and number == int(number):
        return number
    parts = [int(part) for part in re.findall(r"\d+", text)]
    order = _ORDERS[name] if len(parts) == 3 else _ORDERS[name].replace("y", "")
    try:
        part = dict(zip(order, parts, strict=True))
        year = part.get("y", 2001)
        if "y" in part and year < 100:
            year += 2000 if year <= _LAST_OF_20 else 1900
        return datetime.date(year, part["m"], part["d"]).toordinal()
    except ValueError as error:
        meant = {"m": "month", "d": "day", "y": "year"}
        raise DataError(
            f"{name} is {cell!r} in {cells.where(row)}, which is no date: {name} is "
            f"{', '.join(meant[letter] for letter in _ORDERS[name])}, of three numbers, or the number of a day."
        ) from error

"""Doses of a data file: the columns that say how much goes where and how fast, checked cell by cell."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tsode.errors import DataError, TsodeWarning
from tsode.frames.nonmem.cells import Cells, to_number

__all__ = ["Doses", "read_doses"]

_KINDS = (0, 1, 2, 3, 4, 5, 6)


@dataclass(frozen=True, eq=False)
class Doses:
    """Doses of all records.

    Parameters
    ----------
    table : DataFrame
        ``EVID``, ``AMT``, ``RATE``, ``ADDL``, ``SS``, ``CMT``, ``MDV`` and the columns of lag and bioavailability.
    states : list of label or None
        Names of the compartments 1, 2, ...
    """

    table: pd.DataFrame
    states: list[Hashable] | None


def read_doses(cells: Cells, states: Sequence[Hashable] | Mapping[int, Hashable] | None) -> Doses:
    """Read what the records give.

    Raises
    ------
    DataError
        If a cell is no number, an EVID not known, or a dose for no compartment there is.
    """
    n = len(cells.frame)
    table = pd.DataFrame(index=range(n))
    for name in ("AMT", "RATE", "ADDL", "SS"):
        table[name] = cells.numbers(name, missing=np.nan if name in ("AMT", "ADDL", "SS") else 0.0)
    for name in cells.frame.columns:
        if str(name).rstrip("0123456789") in ("ALAG", "F"):
            table[name] = cells.numbers(name)
    if "EVID" in cells:
        table["EVID"] = cells.numbers("EVID", missing=0.0)
    else:
        is_dose = (table["AMT"].fillna(0.0) != 0) | (table["RATE"] != 0) | (table["SS"].fillna(0.0) != 0)
        table["EVID"] = is_dose.astype(np.float64)
    unknown = ~table["EVID"].isin(_KINDS).to_numpy()
    if unknown.any():
        row = int(unknown.argmax())
        raise DataError(f"EVID is {table['EVID'][row]:g} in {cells.where(row)}: NONMEM's are 0 to 4, and 5 and 6 here.")
    table["RATE"] = _rates(cells, table, table["EVID"].isin([1, 4]).to_numpy())
    named = _named(states)
    table["CMT"] = _compartments(cells, table["EVID"].to_numpy(), named)
    return Doses(table, named)


def _rates(cells: Cells, table: pd.DataFrame, is_dose: np.ndarray) -> np.ndarray:
    rate, amount = table["RATE"].to_numpy(copy=True), table["AMT"].fillna(0.0).to_numpy()
    duration = cells.numbers("DUR", missing=0.0)
    has_duration = is_dose & (duration != 0)
    is_wrong = has_duration & ((duration < 0) | (amount == 0))
    if is_wrong.any():
        row = int(is_wrong.argmax())
        raise DataError(
            f"DUR is {duration[row]:g} in {cells.where(row)}, but must be positive, and of a dose with an AMT."
        )
    per_time = np.divide(amount, duration, out=np.zeros_like(rate), where=has_duration)
    is_other = has_duration & (rate != 0) & ~np.isclose(rate, per_time, rtol=1e-6, atol=0.0)
    if is_other.any():
        row = int(is_other.argmax())
        raise DataError(
            f"RATE is {rate[row]:g} in {cells.where(row)}, but AMT / DUR is {per_time[row]:g}: leave one of them empty."
        )
    rate = np.where(has_duration & (rate == 0), per_time, rate)
    for code, quantity in ((-1.0, "rate"), (-2.0, "duration")):
        is_open = is_dose & (rate == code)
        if is_open.any():
            first = cells.where(int(is_open.argmax()))
            warnings.warn(
                f"{int(is_open.sum())} doses have a RATE of {code:g}, the first in {first}. Their {quantity} is for "
                f"the model to say, by doses={{state: Dosing({quantity}=...)}}; without it they are given at once.",
                TsodeWarning,
                stacklevel=4,
            )
            rate = np.where(is_open, 0.0, rate)
    return rate


def _named(states: Sequence[Hashable] | Mapping[int, Hashable] | None) -> list[Hashable] | None:
    if not isinstance(states, Mapping):
        return None if states is None else list(states)
    return [states.get(number, f"compartment {number}") for number in range(1, max(states) + 1)]


def _compartments(cells: Cells, evid: np.ndarray, states: list[Hashable] | None) -> pd.Series:
    """Compartment of each record, a number or a name; that of what changes none is not looked at."""
    column = cells.frame["CMT"].copy() if "CMT" in cells else pd.Series([None] * len(evid), dtype=object)
    for row, cell in enumerate(column):
        number = None if cell is None else to_number(cell)
        if number is not None:
            column[row] = number
        if evid[row] not in (1, 4, 5, 6) or cell is None or (states is not None and cell in states):
            continue
        if number is None:
            remedy = "pass states= with the names of the compartments"
        elif number < 0 or number % 1:
            remedy = "compartments are counted from 1, and cannot be switched off"
        elif states is not None and number > len(states):
            remedy = f"states= names {len(states)}, {states}"
        else:
            continue
        raise DataError(f"CMT is {cell!r} in {cells.where(row)}, a dose for a compartment that there is not: {remedy}.")
    return column

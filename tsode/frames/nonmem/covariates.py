"""Covariates of a data file: constants of an ID, and paths along time by NONMEM's rule or another."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tsode.errors import DataError
from tsode.frames.nonmem.cells import Cells, to_number
from tsode.frames.table import ID_COL, TIME_COL

__all__ = ["RULES", "read_covariates", "read_kept"]

RULES = ("next", "last", "linear")


def read_covariates(
    cells: Cells,
    names: Sequence[Hashable],
    ids: Sequence[Hashable],
    times: np.ndarray,
    rule: str,
    step: np.ndarray,
    is_observed: np.ndarray,
) -> tuple[pd.DataFrame | None, pd.DataFrame | None, dict[Hashable, str]]:
    """Constants (a row an ID), paths along time, and the use of each column.

    Parameters
    ----------
    cells : Cells
    names : sequence of label
        Columns to be read.
    ids, times : sequence, array
        Of each row.
    rule : str
        What holds between two rows, one of `RULES`.
    step : array
        Of each row: how much later a value changes than the row, by the rule "next", so that at the time of a row
        still its own value is read.
    is_observed : array
        Which rows are observations.

    Raises
    ------
    DataError
        If an ID has two values at one time that count, or none of a covariate that changes; if one that changes is no
        number.
    """
    use: dict[Hashable, str] = {}
    table = pd.DataFrame({ID_COL: pd.Series(list(ids), dtype=object), TIME_COL: times})
    static: dict[Hashable, list[object]] = {}
    along: dict[Hashable, np.ndarray] = {}
    keys = list(dict.fromkeys(ids))
    for name in names:
        column = cells.frame[name]
        if column.isna().all():
            use[name] = "not used: empty"
            continue
        n_each = dict(column.groupby(table[ID_COL], sort=False).nunique())
        n_without = sum(not n for n in n_each.values())
        suffix = f", without a value in {n_without} IDs" if n_without else ""
        is_of_numbers = all(to_number(cell) is not None for cell in column.dropna())
        values = pd.Series(cells.numbers(name)) if is_of_numbers else column
        if max(n_each.values()) <= 1 or (is_of_numbers and values.groupby(table[ID_COL]).nunique().max() <= 1):
            first = dict(values.groupby(table[ID_COL], sort=False).first())
            static[name] = [first[key] for key in keys]
            use[name] = f"static: constant in every ID{suffix}"
            continue
        if not is_of_numbers:
            row = next(row for row, cell in enumerate(column) if cell is not None and to_number(cell) is None)
            raise DataError(
                f"{name} changes along time, and is {column.iloc[row]!r} in {cells.where(row)}: what changes has to be "
                f"a number. Mend the cell, or leave the column out by columns={{{name!r}: 'DROP'}}."
            )
        if n_without:
            key = next(key for key in keys if not n_each[key])
            raise DataError(
                f"{name} changes along time, but ID {key!r} has no value of it: fill in one, or leave the column out "
                f"by columns={{{name!r}: 'DROP'}}."
            )
        along[name] = values.to_numpy()
        use[name] = f"known: changes along time, by the rule {rule!r}"
    constants = pd.DataFrame({ID_COL: keys} | static) if static else None
    return constants, _paths(cells, table, along, rule, step, is_observed) if along else None, use


def read_kept(cells: Cells, name: Hashable) -> list[Any]:
    """A column as it stands, as numbers where all its cells are some."""
    column = cells.frame[name].tolist()
    is_of_numbers = all(cell is None or to_number(cell) is not None for cell in column)
    return cells.numbers(name).tolist() if is_of_numbers else column


def _paths(
    cells: Cells, table: pd.DataFrame, along: dict[Hashable, np.ndarray], rule: str, step: np.ndarray,
    is_observed: np.ndarray,
) -> pd.DataFrame:  # fmt: skip
    """A row where a value begins to hold; rows of one ID and one time, which stand together, are one."""
    codes, times = pd.factorize(table[ID_COL])[0], table[TIME_COL].to_numpy()
    is_first = np.r_[True, (np.diff(codes) != 0) | (np.diff(times) != 0)]
    place = np.cumsum(is_first) - 1
    values = pd.DataFrame(along)
    # what led up to a time is told by the first row of it, what goes on from it by the last
    each = values.groupby(place)
    told = each.last() if rule == "last" else each.first()
    for name in along:
        own, other = values[name].to_numpy(), told[name].to_numpy()[place]
        is_other = is_observed & ~np.isnan(own) & (own != other)
        if is_other.any():
            row = int(is_other.argmax())
            raise DataError(
                f"{name} has two values at TIME {times[row]:g}: {other[row]:g}, and {own[row]:g} of the observation in "
                f"{cells.where(row)}. Give one, leave the other empty, or leave the column out by keep=[{name!r}]."
            )
    codes, at = codes[is_first], times[is_first]
    if rule != "linear":
        series = told.groupby(codes)
        told = series.bfill().fillna(series.ffill()) if rule == "next" else series.ffill().fillna(series.bfill())
        is_start = np.r_[True, np.diff(codes) != 0]
        if rule == "next":
            # the value of a row holds from the row before it on, just after which it begins
            delay = pd.Series(step).groupby(place).max().to_numpy()
            at = np.where(is_start, at, np.r_[at[:1], (at + delay)[:-1]])
        is_new = is_start | np.r_[True, (np.diff(told.to_numpy(), axis=0) != 0).any(axis=1)]
        told, at, codes = told[is_new], at[is_new], codes[is_new]
    keys = pd.Series(table[ID_COL].unique(), dtype=object)
    return pd.DataFrame({ID_COL: keys.iloc[codes].to_numpy(), TIME_COL: at} | {k: told[k].to_numpy() for k in told})

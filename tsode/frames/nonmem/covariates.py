"""Covariates of a data file: constants of an ID, and paths along time by NONMEM's rule or another."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd

from tsode.errors import DataError
from tsode.frames.nonmem.cells import Cells, to_number
from tsode.frames.table import ID_COL, TIME_COL

__all__ = ["RULES", "read_covariates"]

RULES = ("next", "last", "linear")


def read_covariates(
    cells: Cells, names: Sequence[Hashable], ids: Sequence[Hashable], times: np.ndarray, rule: str, step: np.ndarray
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

    Raises
    ------
    DataError
        If an ID has two values at one time, or none of a covariate that changes; if one that changes is no number.
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
    return constants, _paths(cells, table, along, rule, step) if along else None, use


def _paths(
    cells: Cells, table: pd.DataFrame, along: dict[Hashable, np.ndarray], rule: str, step: np.ndarray
) -> pd.DataFrame:
    names = list(along)
    rows = table.assign(**{f"_{k}": along[name] for k, name in enumerate(names)}, step=step, row=range(len(table)))
    paths = []
    for key, one in rows.groupby(ID_COL, sort=False):
        knots = one[TIME_COL].to_numpy()
        at, place = np.unique(knots, return_inverse=True)
        values = np.full((len(at), len(names)), np.nan)
        for k, name in enumerate(names):
            for where, value, row in zip(place, one[f"_{k}"], one["row"]):
                if np.isnan(value) or value == values[where, k]:
                    continue
                if not np.isnan(values[where, k]):
                    raise DataError(
                        f"{name} has two values at TIME {at[where]:g}: {values[where, k]:g} and {value:g} in "
                        f"{cells.where(row)}. Give one, or leave the other empty."
                    )
                values[where, k] = value
        path = pd.DataFrame(values, columns=names)
        if rule == "linear":
            paths.append(path.assign(**{ID_COL: key, TIME_COL: at}))
            continue
        if rule == "next":
            path = path.bfill().ffill()
            # the value of a row holds from the row before it on, just after which it begins
            delay = one.groupby(TIME_COL)["step"].max().to_numpy()
            at = np.concatenate([at[:1], (at + delay)[:-1]])
        else:
            path = path.ffill().bfill()
        is_new = (path.diff().fillna(1.0) != 0).any(axis=1).to_numpy()
        paths.append(path[is_new].assign(**{ID_COL: key, TIME_COL: at[is_new]}))
    return pd.concat(paths, ignore_index=True)[[ID_COL, TIME_COL, *names]]

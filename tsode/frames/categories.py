"""Categories in tables of covariates, as columns of zeros and ones."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd

from tsode.errors import DataError
from tsode.frames.numbers import as_numbers

__all__ = ["find_categories", "is_of_numbers", "one_hot", "spread_categories", "spread_labels"]


def is_of_numbers(column: pd.Series) -> bool:
    """Whether a column holds numbers, rather than categories; an empty one of objects does too."""
    return column.dtype.kind not in "mMc" and as_numbers(column) is not None


def find_categories(column: pd.Series, table: str) -> tuple[Hashable, ...]:
    """The categories in a column, in an order that their rows do not set.

    Raises
    ------
    DataError
        If it holds dates or durations, complex numbers or nothing.
    """
    if column.dtype.kind in "mMc":
        raise DataError(
            f"Column {column.name!r} of {table} holds values of {column.dtype}: give numbers or categories, such as an "
            "age in years."
        )
    kinds = sorted(set(column.dropna()), key=lambda kind: (type(kind).__name__, str(kind)))
    if not kinds:
        raise DataError(f"Column {column.name!r} of {table} has no value: drop it.")
    return tuple(kinds)


def one_hot(column: pd.Series, categories: Sequence[Hashable], table: str, rows: Sequence[Hashable]) -> np.ndarray:
    """Zeros and ones (n k), 1 where a row is of a category; a row whose value is missing is of none.

    Raises
    ------
    DataError
        If a value is none of the categories; the error names its entry in `rows`, the series.
    """
    codes = pd.Index(list(categories), dtype=object, tupleize_cols=False).get_indexer(
        pd.Index(column.astype(object), tupleize_cols=False)
    )
    is_new = (codes < 0) & column.notna().to_numpy()
    if is_new.any():
        row = int(is_new.argmax())
        raise DataError(
            f"{table} has {column.iloc[row]!r} in column {column.name!r} of series {rows[row]!r}, which fit has not "
            f"seen: it saw {list(categories)}. Leave it empty (None) where it is not known."
        )
    return (codes[:, None] == np.arange(len(categories))).astype(np.float64)


def spread_categories(
    columns: pd.DataFrame, levels: Mapping[Hashable, Sequence[Hashable]], table: str, rows: Sequence[Hashable]
) -> pd.DataFrame:
    """Columns of a table along time, those of categories as zeros and ones for each, NaN where a value is missing.

    Parameters
    ----------
    columns : DataFrame
    levels : dict of label to labels
        Columns of categories, and these.
    table : str
        What errors call the table.
    rows : sequence of label
        Series of each row.
    """
    spread: dict[Hashable, np.ndarray | pd.Series] = {}
    for name in columns.columns:
        if name not in levels:
            spread[name] = columns[name].array
            continue
        ones = one_hot(columns[name], levels[name], table, rows)
        ones[columns[name].isna().to_numpy()] = np.nan
        spread |= dict(zip(spread_labels(name, levels), ones.T))
    frame = pd.DataFrame(dict(enumerate(spread.values())), index=columns.index)
    return frame.set_axis(pd.Index(list(spread), dtype=object, tupleize_cols=False), axis=1)


def spread_labels(name: Hashable, levels: Mapping[Hashable, Sequence[Hashable]]) -> list[Hashable]:
    """Labels of the columns that `spread_categories` makes of this one."""
    return [(name, category) for category in levels[name]] if name in levels else [name]

"""Static covariates: one row a series -> numbers, categories as columns of their own."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from tsode.errors import DataError
from tsode.frames.categories import find_categories, is_of_numbers, one_hot
from tsode.frames.foreign import native_to_pandas
from tsode.frames.labels import decode_label, encode_label, guess_label
from tsode.frames.leftovers import drop_row_numbers
from tsode.frames.meeting import check_meeting
from tsode.frames.numbers import as_numbers
from tsode.frames.unsplit import unwrap

__all__ = ["StaticColumn", "encode_static", "fit_static", "ids_of_static", "read_static"]


@dataclass(frozen=True)
class StaticColumn:
    """Reading of one column: a number is standardised, a category has a column of zeros and ones for each value.

    Parameters
    ----------
    name : label
    categories : tuple of label or None
        None for numbers.
    shift, scale : float
    keeps_missing : bool
        Whether a number that is missing stays NaN; else it is that of the mean.
    """

    name: Hashable
    categories: tuple[Hashable, ...] | None
    shift: float = 0.0
    scale: float = 1.0
    keeps_missing: bool = False

    @property
    def width(self) -> int:
        return 1 if self.categories is None else len(self.categories)

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        categories = None if self.categories is None else [encode_label(category) for category in self.categories]
        return {**vars(self), "name": encode_label(self.name), "categories": categories}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> StaticColumn:
        """Undo `to_dict`.

        Raises
        ------
        ValueError
            If `state` is nothing that `to_dict` gives.
        """
        categories, shift, scale = state["categories"], float(state["shift"]), float(state["scale"])
        if categories is not None:
            categories = tuple(decode_label(category) for category in categories)
        if categories == () or not np.isfinite(shift) or not 0.0 < scale < np.inf:
            raise ValueError(f"the covariate {state['name']!r} has no category, or no finite scale")
        return cls(decode_label(state["name"]), categories, shift, scale, bool(state.get("keeps_missing", False)))


def ids_of_static(static: Any, id_col: Hashable) -> list[Hashable]:
    """Series that a table of one row a series names; empty where it names none."""
    static = unwrap(static)
    frame = nw.from_native(static, eager_only=True, pass_through=True)
    frame = native_to_pandas(frame) if isinstance(frame, nw.DataFrame) else static
    if not isinstance(frame, pd.DataFrame):
        return []
    if id_col in frame.columns:
        return pd.unique(frame[id_col].dropna()).tolist()
    return frame.index.unique().tolist() if _names_series(frame.index, id_col) else []


def read_static(
    static: Any, ids: Sequence[Hashable], id_col: Hashable, others: Collection[Hashable] = ()
) -> pd.DataFrame:
    """Read a table of one row a series, as a frame indexed by id.

    Parameters
    ----------
    static : DataFrame, Series, dict or Unsplit
        Indexed by id, or with a column `id_col`. Of a single series: a frame of one row, or a Series or dict of names
        to values.
    ids : list of label
        Of the series.
    id_col : label
    others : labels
        Of further series that are known.

    Raises
    ------
    DataError
        If it cannot be read as such.
    """
    static = unwrap(static)
    is_one = isinstance(static, Mapping | pd.Series)
    if isinstance(static, Mapping):
        static = pd.Series(static, dtype=object)
    if isinstance(static, pd.Series):
        if len(ids) != 1:
            raise DataError(
                f"static= is a {type(static).__name__} of one series, but there are {len(ids)}: give a frame with a "
                f"row for each, indexed by id or with the column {id_col!r}."
            )
        static = static.to_frame().T.infer_objects()
    frame = nw.from_native(static, eager_only=True, pass_through=True)
    frame = native_to_pandas(frame) if isinstance(frame, nw.DataFrame) else static
    if not isinstance(frame, pd.DataFrame):
        raise DataError(
            f"static= is of type {type(static).__name__}: give a frame with a row for each series, indexed by id or "
            f"with the column {id_col!r}."
        )
    remedy = ""
    frame = drop_row_numbers(frame)
    if id_col in frame.columns:
        frame = frame.set_index(id_col)
    elif is_one or (len(ids) == len(frame) == 1 and not _names_series(frame.index, id_col)):
        frame = frame.set_axis(pd.Index(ids, tupleize_cols=False))
    else:
        guess = guess_label(id_col, list(frame.columns))
        remedy = f"static= has no column {id_col!r}, so that its index was read as ids.{guess}"
        if guess and isinstance(frame.index, pd.RangeIndex):
            raise DataError(f"static= has no column {id_col!r}.{guess} Rename it, or set the ids as the index.")
    if isinstance(frame.index, pd.MultiIndex):
        frame = frame.set_axis(frame.index.to_flat_index())
    if frame.index.hasnans:
        raise DataError(f"static= has no id at row {int(frame.index.isna().argmax())}: name the series, or drop it.")
    says = "static= has a row for series {}"
    check_meeting(frame.index, ids, says, others=others, strangers="some", remedy=remedy)
    if not frame.index.is_unique:
        twice = frame.index[frame.index.duplicated()][0]
        raise DataError(f"static= has more than one row for series {twice!r}: keep one.")
    if not frame.columns.is_unique:
        raise DataError(f"static= has the column {frame.columns[frame.columns.duplicated()][0]!r} more than once.")
    if not frame.shape[1]:
        raise DataError("static= has no column beside the id: give at least one, or leave it out.")
    return frame


def _names_series(index: pd.Index, id_col: Hashable) -> bool:
    """Whether the index of one row is an id, and no mere number of a row."""
    return index.name == id_col or isinstance(index[0], str)


def fit_static(frame: pd.DataFrame) -> tuple[StaticColumn, ...]:
    """Reading of each column of `frame`, from the values that it has there."""
    columns = []
    for name in frame.columns:
        column = frame[name]
        if is_of_numbers(column):
            numbers = _numbers(column)
            seen = numbers[~np.isnan(numbers)]
            if not len(seen):
                raise DataError(f"Column {name!r} of static= has no value: drop it.")
            spread = float(seen.std()) if seen.min() < seen.max() else 1.0
            columns.append(StaticColumn(name, None, float(seen.mean()), spread))
            continue
        columns.append(StaticColumn(name, find_categories(column, "static=")))
    return tuple(columns)


def encode_static(columns: Sequence[StaticColumn], frame: pd.DataFrame) -> dict[Hashable, np.ndarray]:
    """Numbers of each series; where a value is missing, those of the mean, or of no category.

    Raises
    ------
    DataError
        If a column is missing, or holds a category that fit has not seen.
    """
    parts: list[np.ndarray] = []
    for column in columns:
        if column.name not in frame.columns:
            raise DataError(f"static= has no column {column.name!r}, which fit had: it has {list(frame.columns)}.")
        values = frame[column.name]
        if column.categories is None:
            if not is_of_numbers(values) and values.notna().any():
                raise DataError(f"Column {column.name!r} of static= held numbers in fit, but now {values.dtype}.")
            scaled = (_numbers(values) - column.shift) / column.scale
            parts.append((scaled if column.keeps_missing else np.nan_to_num(scaled, nan=0.0))[:, None])
            continue
        parts.append(one_hot(values, column.categories, "static=", frame.index.tolist()))
    table = np.concatenate(parts, axis=1) if parts else np.zeros((len(frame), 0))
    return dict(zip(frame.index.tolist(), table))


def _numbers(column: pd.Series) -> np.ndarray:
    numbers = as_numbers(column) if column.notna().any() else np.full(len(column), np.nan)
    assert numbers is not None
    if np.isinf(numbers).any():
        raise DataError(f"Column {column.name!r} of static= is infinite somewhere: replace it by NaN if not known.")
    return numbers

"""Static covariates: one row a series -> numbers, categories as columns of their own."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from tsode.errors import DataError
from tsode.frames.labels import decode_label, encode_label
from tsode.frames.unsplit import unwrap

__all__ = ["StaticColumn", "encode_static", "fit_static", "read_static"]


@dataclass(frozen=True)
class StaticColumn:
    """Reading of one column: a number is standardised, a category has a column of zeros and ones for each value.

    Parameters
    ----------
    name : label
    categories : tuple of label or None
        None for numbers.
    shift, scale : float
    """

    name: Hashable
    categories: tuple[Hashable, ...] | None
    shift: float = 0.0
    scale: float = 1.0

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
        return cls(decode_label(state["name"]), categories, shift, scale)


def read_static(static: Any, ids: Sequence[Hashable], id_col: Hashable) -> pd.DataFrame:
    """Read a table of one row a series, as a frame indexed by id.

    Parameters
    ----------
    static : DataFrame, Series, dict or Unsplit
        Indexed by id, or with a column `id_col`. Of a single series: a frame of one row, or a Series or dict of names
        to values.
    ids : list of label
        Of the series.
    id_col : label

    Raises
    ------
    DataError
        If it cannot be read as such.
    """
    static = unwrap(static)
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
    frame = frame.to_pandas() if isinstance(frame, nw.DataFrame) else static
    if not isinstance(frame, pd.DataFrame):
        raise DataError(
            f"static= is of type {type(static).__name__}: give a frame with a row for each series, indexed by id or "
            f"with the column {id_col!r}."
        )
    if id_col in frame.columns:
        frame = frame.set_index(id_col)
    elif len(ids) == 1 and len(frame) == 1:
        frame = frame.set_axis(pd.Index(ids, tupleize_cols=False))
    if isinstance(frame.index, pd.MultiIndex):
        frame = frame.set_axis(frame.index.to_flat_index())
    if not frame.index.is_unique:
        twice = frame.index[frame.index.duplicated()][0]
        raise DataError(f"static= has more than one row for series {twice!r}: keep one.")
    if not frame.columns.is_unique:
        raise DataError(f"static= has the column {frame.columns[frame.columns.duplicated()][0]!r} more than once.")
    if not frame.shape[1]:
        raise DataError("static= has no column beside the id: give at least one, or leave it out.")
    return frame


def fit_static(frame: pd.DataFrame) -> tuple[StaticColumn, ...]:
    """Reading of each column of `frame`, from the values that it has there."""
    columns = []
    for name in frame.columns:
        column = frame[name]
        if _is_number(column):
            numbers = _numbers(column)
            seen = numbers[~np.isnan(numbers)]
            if not len(seen):
                raise DataError(f"Column {name!r} of static= has no value: drop it.")
            spread = float(seen.std()) if seen.min() < seen.max() else 1.0
            columns.append(StaticColumn(name, None, float(seen.mean()), spread))
            continue
        if column.dtype.kind in "mMc":
            raise DataError(
                f"Column {name!r} of static= holds values of {column.dtype}: give numbers or categories, such as an "
                "age in years."
            )
        kinds = sorted(set(column.dropna()), key=lambda kind: (type(kind).__name__, str(kind)))
        if not kinds:
            raise DataError(f"Column {name!r} of static= has no value: drop it.")
        columns.append(StaticColumn(name, tuple(kinds)))
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
            if not _is_number(values):
                raise DataError(f"Column {column.name!r} of static= held numbers in fit, but now {values.dtype}.")
            scaled = (_numbers(values) - column.shift) / column.scale
            parts.append(np.nan_to_num(scaled, nan=0.0)[:, None])
            continue
        codes = pd.Index(list(column.categories), dtype=object, tupleize_cols=False).get_indexer(
            pd.Index(values.astype(object), tupleize_cols=False)
        )
        is_new = (codes < 0) & values.notna().to_numpy()
        if is_new.any():
            row = int(is_new.argmax())
            raise DataError(
                f"static= has {values.iloc[row]!r} in column {column.name!r} of series {frame.index[row]!r}, which fit "
                f"has not seen: it saw {list(column.categories)}. Leave it empty (None) where it is not known."
            )
        parts.append((codes[:, None] == np.arange(column.width)).astype(np.float64))
    table = np.concatenate(parts, axis=1) if parts else np.zeros((len(frame), 0))
    return dict(zip(frame.index.tolist(), table))


def _is_number(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column.dtype) and column.dtype.kind != "c")


def _numbers(column: pd.Series) -> np.ndarray:
    numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(numbers).any():
        raise DataError(f"Column {column.name!r} of static= is infinite somewhere: replace it by NaN if not known.")
    return numbers

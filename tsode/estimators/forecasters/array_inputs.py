"""Arrays as inputs, as in scikit-learn's ``fit(X, y)``: a row is when (and in which series) its `y` was observed."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from tsode.errors import DataError, TsodeWarning
from tsode.frames.table import without_attributes

__all__ = ["array_rows", "check_sample_weight", "is_series_like", "join_values"]


def array_rows(X: np.ndarray, time_col: Hashable) -> pd.DataFrame:
    """A frame of rows without columns, indexed by the times in the first column of an array."""
    if X.ndim not in (1, 2) or X.size == 0:
        raise DataError(
            f"An array X gives times in its first column, so it must have shape (n, 1) or (n,), but has {X.shape}: "
            "give a DataFrame where there is more to say."
        )
    times = X if X.ndim == 1 else X[:, 0]
    if times.dtype.kind not in "mMifu":
        try:
            times = times.astype(np.float64)
        except (ValueError, TypeError) as error:
            raise DataError(f"The first column of an array X holds times, but {error}: pass numbers.") from error
    if X.ndim == 2 and X.shape[1] > 1:
        warnings.warn(
            f"X has {X.shape[1]} columns, of which only the first, the times, is read: forecasts are made from times "
            "and past values of y.",
            TsodeWarning,
            stacklevel=4,
        )
    return pd.DataFrame(index=pd.Index(times.copy(), name=time_col))


def join_values(X: Any, y: Any, id_col: Hashable, time_col: Hashable) -> pd.DataFrame:
    """Put the values `y` beside the ids and times in `X`; other columns of `X` are left out.

    Raises
    ------
    DataError
        If `X` gives no times, or `y` is not aligned with it.
    """
    if isinstance(X, np.ndarray):
        frame = array_rows(X, time_col)
    elif isinstance(X, pd.Index):
        frame = pd.DataFrame(index=X)
    elif hasattr(X, "to_pandas"):
        frame = X.to_pandas()
    elif isinstance(X, pd.DataFrame):
        frame = X
    else:
        raise DataError(
            f"With y, X must be a DataFrame, an Index or an array of times, but is a {type(X).__name__}: "
            "pass a Series of values as the only argument."
        )
    if np.ndim(y) not in (1, 2):
        raise DataError(f"y must have one row for each row of X, but has shape {np.shape(y)}.")
    if len(y) != len(frame):
        raise DataError(f"y has {len(y)} rows, but X has {len(frame)}: they must be aligned row by row.")
    is_pandas = isinstance(y, pd.Series | pd.DataFrame)
    if is_pandas and isinstance(X, pd.DataFrame) and not y.index.equals(X.index):
        row = next((k for k, (a, b) in enumerate(zip(X.index, y.index)) if a != b), 0)
        raise DataError(
            f"X and y have different indexes, at row {row} {X.index[row]} and {y.index[row]}: sort or reindex one "
            "of them, or pass y.to_numpy() if the rows belong together in the order they stand."
        )
    if isinstance(y, pd.DataFrame):
        values = y.reset_index(drop=True)
    else:
        name = y.name if isinstance(y, pd.Series) and y.name is not None else "y"
        values = pd.DataFrame(np.array(y), columns=[name] if np.ndim(y) == 1 else None)
    columns = [column for column in (id_col, time_col) if column in frame.columns]
    for column in columns:
        if column in values.columns:
            raise DataError(f"y has a column {column!r}, which is the name of an id or time column: rename it.")
    values.index = frame.index
    return pd.concat([without_attributes(frame[columns]), without_attributes(values)], axis=1)


def is_series_like(X: Any) -> bool:
    """Whether this is a Series or a list of such, whose channel has no column to be found by."""
    return isinstance(X, pd.Series) or (isinstance(X, list) and bool(X) and isinstance(X[0], pd.Series))


def check_sample_weight(sample_weight: Any, n_rows: int) -> np.ndarray:
    """Weight of each row of X: array[n].

    Raises
    ------
    DataError
        If it is not a number of at least 0 for each of the rows.
    """
    weight = np.ones(n_rows) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n_rows,) or not (np.isfinite(weight) & (weight >= 0.0)).all():
        raise DataError(
            f"sample_weight must hold a number of at least 0 for each of the {n_rows} rows of X, but has shape "
            f"{weight.shape}: give one weight a row."
        )
    return weight

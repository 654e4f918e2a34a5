"""Series as rows of scikit-learn's `X`: an array on a common grid, or a list."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import validate_data

from tsode.errors import DataError

__all__ = ["SeriesRows", "grid_times", "read_rows"]

SeriesRows = np.ndarray | list[Any]


def read_rows(estimator: Any, X: Any, reset: bool) -> SeriesRows:
    """Check `X`, and tell series on a common grid (an array) from series with times of their own (a list).

    Parameters
    ----------
    estimator : BaseEstimator
        Whose ``n_features_in_`` and ``feature_names_in_`` are set, or compared with; a list has none.
    X : array[b n], DataFrame, or list of Series or of wide frames
        A list may also be an object array, a Series, or the only column of a frame, whose entries are Series.
    reset : bool
        Whether this is a fit.
    """
    items = _series_in(X)
    if items is None:
        # of one time nothing can be learned about change; later, another number of columns than in fit is the error
        fewest = 2 if reset else 1
        return validate_data(
            estimator, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_features=fewest
        )
    if reset:
        for name in ("n_features_in_", "feature_names_in_"):  # of an earlier fit on an array
            if hasattr(estimator, name):
                delattr(estimator, name)
    return items


def grid_times(times: Any, n_times: int) -> np.ndarray:
    """Times of the columns of an array: those given, or 0, 1, 2, ...

    Raises
    ------
    DataError
        If they are not increasing, or not one a column.
    """
    if times is None:
        return np.arange(n_times, dtype=np.float64)
    grid = pd.Index(times)
    if len(grid) != n_times:
        raise DataError(f"times= holds {len(grid)} times, but X has {n_times} columns: give one time a column.")
    if not grid.is_monotonic_increasing or grid.has_duplicates or grid.hasnans:
        raise DataError("times= must increase from column to column: sort the columns of X by time.")
    return grid.to_numpy()


def _series_in(X: Any) -> list[Any] | None:
    """The Series or frames that a container holds, or None where it holds numbers."""
    if isinstance(X, pd.DataFrame) and X.shape[1] == 1 and X.dtypes.iloc[0].kind == "O":
        X = X.iloc[:, 0]
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 2 and X.shape[1] == 1:
        X = X[:, 0]
    if isinstance(X, pd.Series) and X.dtype == object:
        X = X.tolist()
    if isinstance(X, pd.Series):
        raise DataError("X is one Series of numbers, but a row of X is a series: pass a list, [X].")
    if isinstance(X, pd.DataFrame) and any(dtype.kind == "M" for dtype in X.dtypes):
        raise DataError(
            f"X has columns of datetimes among {list(X.columns)}, but a row of X is a series: pass a list of Series, "
            "such as [one.set_index('ds')['y'] for _, one in frame.groupby('unique_id')]."
        )
    if not isinstance(X, list | tuple | np.ndarray) or not len(X) or not isinstance(X[0], pd.Series | pd.DataFrame):
        return None
    items = list(X)
    for row, item in enumerate(items):
        if not isinstance(item, type(items[0])):
            raise DataError(
                f"X is a list of {type(items[0]).__name__}, but row {row} is a {type(item).__name__}: give all of one "
                "kind, an empty Series where nothing was observed."
            )
    return items

"""Numbers in a column of any dtype."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from tsode.errors import TsodeWarning

__all__ = ["as_numbers"]

_NUMBERS = ("boolean", "decimal", "empty", "floating", "integer", "mixed-integer-float")
_EXACT = 2**53


def as_numbers(column: pd.Series) -> np.ndarray | None:
    """The column as float64 with NaN where a value is missing, or None if it holds anything else than numbers.

    Warns
    -----
    TsodeWarning
        If whole numbers are too large for float64 to hold their last digits.
    """
    if column.dtype.kind not in "biuf":
        # objects with a missing value among them (pd.NA, None), and decimals
        column = column.infer_objects() if column.dtype == object else column
        if column.dtype.kind not in "biuf" and pd.api.types.infer_dtype(column, skipna=True) not in _NUMBERS:
            return None
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if column.dtype.kind != "f" and (np.abs(values) > _EXACT).any():
        row = int((np.abs(values) > _EXACT).argmax())
        if column.dtype.kind in "iu" or values[row] % 1.0 == 0.0:
            warnings.warn(
                f"Column {column.name!r} holds whole numbers beyond 2**53, such as {column.iloc[row]} at row {row}, "
                "whose last digits are lost in float64: subtract an offset before.",
                TsodeWarning,
                stacklevel=2,
            )
    return values

"""Frames of other libraries, taken over to pandas."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import pandas as pd

from tsode.errors import DataError

__all__ = ["native_to_pandas", "to_pandas"]


def to_pandas(data: Any, what: str) -> pd.DataFrame:
    """A frame of pandas, polars or Arrow as one of pandas.

    Raises
    ------
    DataError
        If it is none, or has a column that pandas cannot hold.
    """
    if isinstance(data, pd.DataFrame):
        return data
    native = nw.from_native(data, eager_only=True, pass_through=True)
    if not isinstance(native, nw.DataFrame):
        raise DataError(f"{what} is a {type(data).__name__}: give a DataFrame.")
    return native_to_pandas(native)


def native_to_pandas(native: nw.DataFrame[Any]) -> pd.DataFrame:
    """A frame that narwhals has wrapped.

    Raises
    ------
    DataError
        If a column is of a type that pandas cannot hold.
    """
    try:
        return native.to_pandas()
    except (ValueError, TypeError, NotImplementedError) as error:  # those of Arrow are of these kinds
        wide = [f"{name!r} ({dtype})" for name, dtype in native.schema.items() if "128" in str(dtype)]
        raise DataError(
            f"The {native.implementation.value} frame cannot be taken over to pandas ({str(error).splitlines()[0]}): "
            f"cast {', '.join(wide) or 'the column'} to Float64 or Int64 first."
        ) from error

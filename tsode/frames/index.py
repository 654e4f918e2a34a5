"""Times of a pandas index or column <-> native arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tsode.core.timeline import coarsest_ticks
from tsode.errors import DataError

__all__ = ["join_times", "native_times", "restore_times"]


_LARGEST = 2**63 - 1


def native_times(index: pd.Index, where: str) -> tuple[np.ndarray, Any]:
    """Read times into a plain array.

    Parameters
    ----------
    index : pd.Index
        A column of times is passed as ``pd.Index(column)``.
    where : str
        What the error messages call it.

    Returns
    -------
    native : array[n]
        datetime64 (UTC without a zone), timedelta64, float64 or int64.
    dtype : dtype
        With which `restore_times` undoes it.

    Raises
    ------
    DataError
        If these are not times, or some are missing or infinite.
    """
    if index.dtype == object:
        index = _infer(index, where)
    if isinstance(index, pd.PeriodIndex):
        raise DataError(f"{where} holds periods, not points in time: convert it with `.to_timestamp()`.")
    if pd.api.types.is_string_dtype(index.dtype):
        example = f" such as {index[0]!r}" if len(index) else ""
        raise DataError(f"{where} holds strings{example}: parse it first, with `pd.to_datetime(...)`.")
    if index.dtype.kind not in "Mmfiu":
        raise DataError(
            f"{where} has dtype {index.dtype}, which is no time: give datetimes, timedeltas, floats or integers."
        )
    missing = np.asarray(index.isna())
    if missing.any():
        raise DataError(f"{where} has no time (NaT or NaN) at row {int(missing.argmax())}: drop or complete such rows.")
    if index.dtype.kind == "M":
        stamps = pd.DatetimeIndex(index)
        return (stamps if stamps.tz is None else stamps.tz_convert("UTC").tz_localize(None)).to_numpy(), stamps.dtype
    if index.dtype.kind == "m":
        spans = pd.TimedeltaIndex(index)
        return spans.to_numpy(), spans.dtype
    if index.dtype.kind == "u" and len(index) and int(index.max()) > _LARGEST:
        raise DataError(
            f"{where} reaches {int(index.max())}, beyond the largest whole number of 64 bits with a sign: subtract an "
            "offset from the times, such as the first of them."
        )
    native = index.to_numpy(dtype=np.float64 if index.dtype.kind == "f" else np.int64)
    if not np.isfinite(native).all():
        raise DataError(f"{where} is infinite at row {int((~np.isfinite(native)).argmax())}: drop such rows.")
    return native, index.dtype


def join_times(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The same times, all of one dtype: that of the finest ticks, or coarser ones if they do not hold all of them.

    Raises
    ------
    DataError
        If no tick holds them all exactly in 64 bits.
    """
    dtype = np.result_type(*{times.dtype for times in parts})
    if dtype.kind not in "mM" or all(times.dtype == dtype for times in parts):
        return [times.astype(dtype, copy=False) for times in parts]
    # ticks that are not needed, such as the nanoseconds of whole days, would leave no room for far years
    ticks = {coarsest_ticks(times)[1] for times in parts if len(times)} or {"s"}
    for unit in (np.datetime_data(dtype)[0], np.datetime_data(np.result_type(*(f"m8[{tick}]" for tick in ticks)))[0]):
        joined = [times.astype(f"{dtype.kind}8[{unit}]") for times in parts]
        if all((new.astype(old.dtype) == old).all() for new, old in zip(joined, parts)):
            return joined
    dtypes = ", ".join(sorted({str(times.dtype) for times in parts}))
    raise DataError(
        f"Times of {dtypes} lie too far apart to be held together in 64 bits: round them to microseconds, with "
        "`.as_unit('us')`."
    )


def restore_times(native: np.ndarray, dtype: Any) -> pd.Index:
    """Undo `native_times`; times that `dtype` cannot hold exactly keep their own, with the time zone restored."""
    if native.dtype.kind in "mM":
        unit = getattr(dtype, "unit", None) or np.datetime_data(dtype)[0]
        cast = native.astype(f"{native.dtype.kind}8[{unit}]")
        exact = cast if (cast.astype(native.dtype) == native).all() else native
        if native.dtype.kind == "m":
            return pd.TimedeltaIndex(exact)
        tz = getattr(dtype, "tz", None)
        return pd.DatetimeIndex(exact) if tz is None else pd.DatetimeIndex(exact).tz_localize("UTC").tz_convert(tz)
    if dtype.kind in "iu" and not (native == np.rint(native)).all():
        return pd.Index(native)
    cast_index = pd.Index(native).astype(dtype)
    return cast_index if (cast_index == native).all() else pd.Index(native)


def _infer(index: pd.Index, where: str) -> pd.Index:
    inferred = index.infer_objects()
    kind = pd.api.types.infer_dtype(index, skipna=True)
    if inferred.dtype == object and kind == "date":
        return pd.DatetimeIndex(index)
    if inferred.dtype == object and kind == "datetime":
        zones = {str(stamp.tzinfo) for stamp in index.dropna()}
        raise DataError(
            f"{where} mixes time zones ({', '.join(sorted(zones))}; 'None' is without one): "
            "convert it to one with `pd.to_datetime(..., utc=True)`."
        )
    if inferred.dtype == object and kind != "string":
        raise DataError(f"{where} mixes types ({kind}): give datetimes, timedeltas, floats or integers only.")
    return inferred

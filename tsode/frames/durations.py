"""Durations as users write them: of a fixed length, or refused."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from tsode.core.timeline import check_fixed_length
from tsode.errors import ParameterError

__all__ = ["read_duration"]

_FIXED_OFFSETS = (pd.offsets.Tick, pd.offsets.Day, pd.offsets.Week)


def read_duration(value: Any, kind: str, name: str = "horizon") -> Any:
    """Read a duration as np.timedelta64 where the times are of a `kind` with durations.

    A string such as "3h", a Timedelta, and an offset of pandas of a fixed length, such as ``pd.offsets.Hour(3)``, are
    one duration. A day is 24 hours. Steps of the calendar (months, quarters, years, business days) differ in length
    and are no duration. Numbers pass unchanged: `Timeline.duration` and `Timeline.fit` judge them.

    Raises
    ------
    ParameterError
        If it is no duration.
    """
    if isinstance(value, bool | np.bool_):
        raise ParameterError(f"{name}={value!r} is a truth value: give a duration such as '3h' or 3.0.")
    if kind not in ("datetime", "timedelta"):
        return value
    if isinstance(value, pd.offsets.BaseOffset):
        return _read_offset(value, name)
    if isinstance(value, str):
        value = _read_text(str(value), name)
    if value is pd.NaT:
        raise ParameterError(f"{name}={value} is of type NaTType, but must be finite: write it like '3h'.")
    if isinstance(value, pd.Timedelta):
        return value.to_timedelta64()
    if isinstance(value, np.timedelta64):
        check_fixed_length(value, name)
    return value


def _read_text(text: str, name: str) -> Any:
    units = re.findall(r"[^\W\d_]+", text)
    reason = ""
    if any(unit != "ms" and unit.lower() == "ms" for unit in units):
        reason = "'MS' are starts of months, which differ in length; milliseconds are 'ms'"
    elif re.match(r"\s*[+-]?P[^T]*[MY]", text):
        reason = "months and years differ in length"
    elif "," in text:
        reason = "a comma is not read as a decimal point"
    # pandas reads a string of digits as nanoseconds, which nobody means
    elif text.strip().lstrip("+-").replace(".", "", 1).isdigit():
        raise ParameterError(f"{name}={text!r} has no unit: write it like '3h' or '90min'.")
    else:
        try:
            return pd.Timedelta(text)
        except ValueError as error:
            reason = "steps of the calendar differ in length" if _is_calendar(text) else str(error).rstrip(".")
    raise ParameterError(f"{name}={text!r} is not a duration ({reason}): write it like '3h', '90min' or '30D'.")


def _is_calendar(text: str) -> bool:
    try:
        return not isinstance(pd.tseries.frequencies.to_offset(text), _FIXED_OFFSETS)
    except ValueError:  # "1M" and "1Y", which pandas had before
        return re.fullmatch(r"\s*\d*\s*[MQYA]", text) is not None


def _read_offset(offset: pd.offsets.BaseOffset, name: str) -> np.timedelta64:
    is_anchored = getattr(offset, "weekday", None) is not None
    if not isinstance(offset, _FIXED_OFFSETS) or is_anchored:
        raise ParameterError(
            f"{name}={offset!r} is of type {type(offset).__name__}, a step of the calendar: these differ in "
            "length. Give a fixed duration such as '30D'."
        )
    if isinstance(offset, pd.offsets.Tick):
        return pd.Timedelta(offset).to_timedelta64()
    return pd.Timedelta(days=offset.n * (7 if isinstance(offset, pd.offsets.Week) else 1)).to_timedelta64()

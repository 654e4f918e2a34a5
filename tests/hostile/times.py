"""Times of every kind, made from whole ticks: ``TIMES["UTC"](np.array([0, 3]))``."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["NO_TIMES", "TIMES"]

Make = Callable[[np.ndarray], Any]


def _datetimes(start: str, tick: int, unit: str, tz: str | None = None) -> Make:
    def make(ticks: np.ndarray) -> pd.DatetimeIndex:
        stamps = pd.DatetimeIndex(np.array(start, f"M8[{unit}]") + (tick * ticks).astype(f"m8[{unit}]"))
        return stamps if tz is None else stamps.tz_localize("UTC").tz_convert(tz)

    return make


def _timedeltas(start: int, tick: int, unit: str) -> Make:
    return lambda ticks: pd.TimedeltaIndex((start + tick * ticks).astype(f"m8[{unit}]"))


def _numbers(start: float, tick: float, dtype: str) -> Make:
    return lambda ticks: pd.Index(start + tick * ticks, dtype=dtype)


def _as(make: Make, dtype: Any) -> Make:
    return lambda ticks: make(ticks).astype(dtype)


TIMES: dict[str, Make] = {
    "datetime64[s]": _datetimes("2024-02-28T20", 1800, "s"),
    "datetime64[ms]": _datetimes("2024-02-28T20", 250, "ms"),
    "datetime64[us]": _datetimes("2024-02-28T20", 17, "us"),
    "datetime64[ns]": _datetimes("2024-02-28T20", 1, "ns"),
    "UTC": _datetimes("2024-02-28T20", 60, "s", "UTC"),
    "Europe/Berlin, winter time begins": _datetimes("2024-10-26T20", 900, "s", "Europe/Berlin"),
    "America/St_Johns, summer time begins": _datetimes("2024-03-09T20", 900_000_000, "us", "America/St_Johns"),
    "Australia/Lord_Howe, half an hour": _datetimes("2024-04-06T05", 600, "s", "Australia/Lord_Howe"),
    "offset +05:45": _datetimes("1969-12-31T20", 3600, "s", "+05:45"),
    "year 1678": _datetimes("1678-01-01", 10**12, "ns"),
    "year 100 000": _datetimes("100000-01-01", 86_400 * 365, "s"),
    "timedelta64[s]": _timedeltas(-86_400, 600, "s"),
    "timedelta64[ns]": _timedeltas(0, 1_000_003, "ns"),
    "int64": _numbers(0, 1, "int64"),
    "int32": _numbers(-200, 1, "int32"),
    "uint16": _numbers(1000, 7, "uint16"),
    "int64, far from zero": lambda ticks: pd.Index(2**60 + ticks, dtype="int64"),
    "float64": _numbers(0.0, 0.125, "float64"),
    "float32": _numbers(1.0, 0.25, "float32"),
    "float64, far from zero": _numbers(1e15, 0.25, "float64"),
    "float64, negative": _numbers(-1e4, 0.1, "float64"),
    "float64, tiny": _numbers(0.0, 1e-200, "float64"),
    "float64, huge": _numbers(0.0, 1e200, "float64"),
    "Int64": _as(_numbers(0, 3, "int64"), "Int64"),
    "Float64": _as(_numbers(0, 0.5, "float64"), "Float64"),
    "timestamp[us][pyarrow]": _as(_datetimes("2024-02-28T20", 10**6, "us"), "timestamp[us][pyarrow]"),
    "objects, Timestamps": _as(_datetimes("2024-02-28T20", 3600, "s", "Asia/Kathmandu"), object),
    "objects, dates": lambda ticks: pd.Index([stamp.date() for stamp in _datetimes("2024-01-01", 86_400, "s")(ticks)]),
    "objects, numbers": _as(_numbers(0, 0.5, "float64"), object),
}
"""Kinds that are read: ticks (n) from -1000 to 5000 -> n distinct times, in the same order."""


def _mixed(ticks: np.ndarray) -> pd.Index:
    stamps = _datetimes("2024-02-28T20", 3600, "s")(ticks).astype(object).tolist()
    return pd.Index([stamps[0].tz_localize("UTC"), *stamps[1:], 3.5], dtype=object)[: len(ticks)]


NO_TIMES: dict[str, Make] = {
    "strings": _as(_datetimes("2024-02-28T20", 3600, "s"), str),
    "periods": lambda ticks: _datetimes("2024-01-01", 86_400, "s")(ticks).to_period("D"),
    "intervals": lambda ticks: pd.IntervalIndex.from_arrays(ticks, ticks + 1),
    "categories": _as(_as(_datetimes("2024-02-28T20", 3600, "s"), str), "category"),
    "bools": lambda ticks: pd.Index(ticks % 2 == 0),
    "complex": _numbers(0, 1, "complex128"),
    "decimals": lambda ticks: pd.Index([Decimal(int(tick)) for tick in ticks]),
    "times of day": lambda ticks: pd.Index([stamp.time() for stamp in _datetimes("2024-01-01", 60, "s")(ticks)]),
    "tuples": lambda ticks: pd.Index([(int(tick), 0) for tick in ticks], tupleize_cols=False),
    "with a NaT": lambda ticks: _datetimes("2024-02-28T20", 3600, "s")(ticks).insert(0, pd.NaT)[: len(ticks)],
    "with a NaN": lambda ticks: _numbers(0, 0.5, "float64")(ticks).insert(0, np.nan)[: len(ticks)],
    "with an inf": lambda ticks: _numbers(0, 0.5, "float64")(ticks).insert(0, np.inf)[: len(ticks)],
    "with an NA": lambda ticks: pd.Index([pd.NA, *ticks.tolist()], dtype="Int64")[: len(ticks)],
    "with a None": lambda ticks: pd.Index([None, *_datetimes("2024-01-01", 60, "s")(ticks)], dtype=object)[
        : len(ticks)
    ],
}
"""Kinds that are not."""

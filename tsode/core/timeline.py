"""Timeline: the map between the times of the data and the float64 time of a model."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from numbers import Real
from typing import Any

import numpy as np

from tsode.errors import DataError, ParameterError

__all__ = ["Duration", "Timeline", "check_fixed_length", "coarsest_ticks", "kind_of_times", "typical_gap"]

Duration = np.timedelta64 | datetime.timedelta | float

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9, "ps": 10**12, "fs": 10**15, "as": 10**18}
_CLOCK = {"day": 86400.0, "hour": 3600.0, "minute": 60.0, "second": 1.0}
_KINDS = {"M": "datetime", "m": "timedelta", "f": "float", "i": "int", "u": "int"}
_PLURAL = {"datetime": "datetimes", "timedelta": "timedeltas", "float": "numbers", "int": "numbers"}
# Products with the unit are rounded twice (2 x 2**-53), so whole ticks survive below 2**51.
_EXACT = 2**51
_FARTHEST = 2**62


@dataclass(frozen=True)
class Timeline:
    """Times as the data has them <-> float64 model time: ``model = (native - origin) / unit``.

    The origin is subtracted in the data's own arithmetic, before anything is divided. Datetimes and timedeltas that
    span less than ``2**51`` ticks of `resolution` (71 years of microseconds), integers, and floats with a unit that is
    a power of two come back exactly; beyond that, to about one part in ``2**52`` of the distance from the origin.

    Parameters
    ----------
    kind : {"datetime", "timedelta", "float", "int"}
        Datetimes are UTC without a zone.
    origin : int or float
        Model time zero: in ticks of `resolution` (since 1970 for datetimes), or a number of the data's own.
    unit : int or float
        Length of one unit of model time, in ticks or in the data's own numbers.
    resolution : str or None
        NumPy's name of the tick ("s", "ms", "us", "ns", ...); None for numbers.
    """

    kind: str
    origin: int | float
    unit: int | float
    resolution: str | None = None

    @classmethod
    def fit(cls, times: np.ndarray | Sequence[np.ndarray], unit: Duration | str = "auto") -> Timeline:
        """Choose origin, unit and tick for the times of one or many series.

        Parameters
        ----------
        times : array[n] or sequence of array[n]
            datetime64, timedelta64, float64 or integers, one array a series, without NaT or NaN.
        unit : "auto", np.timedelta64, datetime.timedelta or float
            Length of one unit of model time. "auto" is the median gap within a series (for floats the nearest power
            of two, which loses no bit).

        Raises
        ------
        DataError
            If there is no time, kinds are mixed, or distinct times of a series would be one float64.
        ParameterError
            If `unit` does not fit the kind of the times, or is not positive.
        """
        series = [times] if isinstance(times, np.ndarray) else list(times)
        if not any(len(t) for t in series):
            raise DataError("There are no times to place on a timeline: give at least one row.")
        kinds = sorted({kind_of_times(t) for t in series})
        if len(kinds) > 1:
            raise DataError(f"Times must be of one kind, but came as {' and '.join(kinds)}: convert them to one.")
        pooled = np.concatenate(series)
        fitted = _fit_numbers(kinds[0], pooled) if kinds[0] in ("float", "int") else _fit_ticks(kinds[0], pooled, unit)
        fitted = fitted._with_unit(unit, series)
        if (np.diff(fitted.to_model(pooled))[_is_inside(series)] <= 0).any():
            for t in series:
                fitted._check_distinct(t)
        return fitted

    def to_model(self, native: np.ndarray) -> np.ndarray:
        """Model time of native times, float64, in the shape given.

        Equal instants give equal floats whatever the unit of their dtype, also ones finer than `resolution`.

        Raises
        ------
        DataError
            If `native` is of another kind than the fitted times, or too far from the origin for 64 bits.
        """
        native = np.asarray(native)
        kind = kind_of_times(native)
        # Integers and floats are both "a number" to the user, so either passes for the other.
        if kind != self.kind and not {kind, self.kind} <= {"float", "int"}:
            raise DataError(
                f"The times are {_PLURAL[kind]}, but the series has {_PLURAL[self.kind]}: "
                f"pass {_PLURAL[self.kind]} here too."
            )
        if self.kind == "float":
            return (native.astype(np.float64) - self.origin) / self.unit
        if self.kind == "int":
            floor = np.floor(native) if kind == "float" else native
            return _divide(_shift(floor, -int(self.origin)), self.unit, native - floor)
        ticks, tick = coarsest_ticks(native)
        origin, unit = int(self.origin), int(self.unit)
        ratio = Fraction(_PER_SECOND[tick], _PER_SECOND[str(self.resolution)])
        if ratio >= 1:
            return _divide(_shift(ticks, -origin * int(ratio)), unit * int(ratio))
        finer = int(1 / ratio)
        whole = _scale(_shift(ticks, -(origin // finer)), finer)
        return _divide(_shift(whole, -(origin % finer)), unit)

    def to_native(self, model: np.ndarray) -> np.ndarray:
        """Native times of model times, rounded to the tick `resolution`.

        Integer times come back as int64 when all are whole, else as float64.

        Raises
        ------
        DataError
            If a datetime or timedelta would not fit into 64 bits.
        """
        elapsed = np.asarray(model, dtype=np.float64) * self.unit
        if self.kind == "float":
            return elapsed + self.origin
        ticks = np.rint(elapsed)
        if self.kind == "int" and (np.abs(elapsed - ticks) > 4 * np.spacing(np.abs(elapsed))).any():
            return elapsed + self.origin
        shifted = _shift(ticks, int(self.origin))
        return shifted if self.kind == "int" else shifted.view(f"{self.kind}64[{self.resolution}]")

    def duration(self, value: Duration, name: str = "horizon", otherwise: str = "") -> float:
        """Length of `value` in model time.

        Parameters
        ----------
        value : np.timedelta64, datetime.timedelta (pd.Timedelta is one), or float
            A span of time for datetimes and timedeltas, a number for numbers.
        name : str
            What the error message calls it.
        otherwise : str
            What else to pass, if there is anything: " or times=".

        Raises
        ------
        ParameterError
            If `value` is of the wrong kind or not finite.
        """
        length, tick = _read_duration(value, self.kind, name, otherwise)
        if self.resolution is None:
            return float(length) / self.unit
        return float(Fraction(length) * _PER_SECOND[self.resolution] / _PER_SECOND[str(tick)] / int(self.unit))

    def span(self, model: np.ndarray) -> np.ndarray:
        """Spans of model time in the data's own units: undoes `duration`. What 64 bits cannot hold is NaT."""
        lengths = np.asarray(model, dtype=np.float64) * self.unit
        if self.resolution is None:
            return lengths
        is_held = np.isfinite(lengths) & (lengths < _FARTHEST)
        ticks = np.rint(np.where(is_held, lengths, 0.0)).astype(np.int64).view(f"m8[{self.resolution}]")
        return np.where(is_held, ticks, np.timedelta64("NaT"))

    def clock_unit(self, length: float) -> tuple[str, float]:
        """Name of a unit of the clock, and how many of them one unit of model time is.

        The largest of day, hour, minute and second that is no longer than `length`, in model time; "unit" where times
        are numbers, in which the data count.
        """
        if self.resolution is None:
            return "unit", float(self.unit)
        seconds = float(Fraction(int(self.unit), _PER_SECOND[self.resolution]))
        name = next((name for name, long in _CLOCK.items() if long <= length * seconds), "second")
        return name, seconds / _CLOCK[name]

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Timeline:
        """Undo `to_dict`.

        Raises
        ------
        ValueError
            If `state` is nothing that `to_dict` gives.
        """
        timeline = cls(**state)
        is_clock = timeline.kind in ("datetime", "timedelta")
        if timeline.kind not in _KINDS.values() or timeline.resolution not in (_PER_SECOND if is_clock else (None,)):
            raise ValueError(f"{timeline.kind!r} in {timeline.resolution!r} are no times")
        for number in (timeline.origin, timeline.unit):
            is_whole = type(number) is int and abs(number) <= _FARTHEST
            if not is_whole and (is_clock or type(number) is not float or not math.isfinite(number)):
                raise ValueError(f"{number!r} is no origin or unit of {timeline.kind} times")
        if timeline.unit <= 0:
            raise ValueError(f"its unit of time {timeline.unit!r} is not positive")
        return timeline

    def _with_unit(self, unit: Duration | str, series: list[np.ndarray]) -> Timeline:
        length: int | float
        if isinstance(unit, str) and unit == "auto":
            gap = typical_gap(series)
            if gap is None:
                length = 1 if self.resolution is None else _PER_SECOND[self.resolution]
            elif self.kind == "float":
                length = 2.0 ** round(math.log2(gap))
            elif self.kind == "int":
                length = int(gap)
            else:
                length = int(gap.astype(f"m8[{self.resolution}]").astype(np.int64))
        else:
            length, tick = _read_duration(unit, self.kind, "time_unit")
            if length <= 0:
                raise ParameterError(f"time_unit={unit!r} must be positive.")
            if self.resolution is not None:
                length = length * _PER_SECOND[self.resolution] // _PER_SECOND[str(tick)]
            elif float(length).is_integer() and self.kind == "int":
                length = int(length)
        return Timeline(self.kind, self.origin, length, self.resolution)

    def _check_distinct(self, times: np.ndarray) -> None:
        times = np.sort(times)
        same = (np.diff(self.to_model(times)) == 0) & (times[1:] != times[:-1])
        if same.any():
            k = int(same.argmax())
            raise DataError(
                f"The times {times[k]} and {times[k + 1]} are distinct, but float64 cannot tell them apart at this "
                f"distance from the first time {self.to_native(np.zeros(1))[0]}: round the times, or split the data."
            )


def kind_of_times(times: np.ndarray) -> str:
    """Kind of an array of times: "datetime", "timedelta", "float" or "int".

    Raises
    ------
    DataError
        If the dtype is none of these.
    """
    if times.dtype.kind not in _KINDS:
        raise DataError(
            f"Times must be datetimes, timedeltas, floats or integers, but are {times.dtype}: convert them first."
        )
    return _KINDS[times.dtype.kind]


def coarsest_ticks(times: np.ndarray) -> tuple[np.ndarray, str]:
    """Count datetimes or timedeltas in the coarsest of "s", "ms", "us", "ns", ... that holds them all exactly.

    Returns
    -------
    ticks : array of int64
    tick : str
    """
    base = "datetime64" if times.dtype.kind == "M" else "timedelta64"
    unit = np.datetime_data(times.dtype)[0]
    tick = unit if unit in _PER_SECOND else "s"
    cast = times.astype(f"{base}[{tick}]")
    if (cast.astype(times.dtype) != times).any():
        raise DataError(
            f"Times of dtype {times.dtype} are too far from 1970 to count in seconds: use numbers as times."
        )
    ticks = cast.astype(np.int64)
    names = list(_PER_SECOND)
    while tick != "s" and not (ticks % 1000).any():
        ticks, tick = ticks // 1000, names[names.index(tick) - 1]
    return ticks, tick


def check_fixed_length(value: np.timedelta64, name: str) -> None:
    """Refuse a timedelta64 of months or years, which differ in length, or without a unit.

    Raises
    ------
    ParameterError
    """
    unit = np.datetime_data(value.dtype)[0]
    if unit in ("M", "Y", "generic") and not np.isnat(value):
        why = "no unit" if unit == "generic" else "no fixed length: months and years differ"
        raise ParameterError(f"{name}={value!r} has {why}. Give e.g. np.timedelta64(30, 'D').")


def typical_gap(series: Sequence[np.ndarray]) -> Any:
    """Median positive gap between consecutive times within a series, in the arithmetic of the times (one that occurs).

    Returns
    -------
    np.timedelta64, np.int64, np.float64 or None
        None if no series has two distinct times.
    """
    gaps = np.diff(series[0]) if len(series) == 1 else np.diff(np.concatenate(series))[_is_inside(series)]
    nothing = np.zeros((), dtype=gaps.dtype)
    if (gaps < nothing).any():
        gaps = np.concatenate([np.diff(np.sort(t)) for t in series])
    gaps = np.sort(gaps[gaps > nothing])
    # The lower middle rather than the mean of two: whole ticks stay whole.
    return gaps[(len(gaps) - 1) // 2] if len(gaps) else None


def _is_inside(series: Sequence[np.ndarray]) -> np.ndarray:
    """Which steps between consecutive times of all series set end to end stay within one."""
    lengths = np.array([len(t) for t in series])
    is_inside = np.ones(max(int(lengths.sum()) - 1, 0), dtype=bool)
    starts = lengths.cumsum()[:-1]
    is_inside[starts[(starts > 0) & (starts <= len(is_inside))] - 1] = False
    return is_inside


def _fit_ticks(kind: str, pooled: np.ndarray, unit: Duration | str) -> Timeline:
    ticks, tick = coarsest_ticks(pooled)
    names = list(_PER_SECOND)
    wanted = tick if isinstance(unit, str) else str(_read_duration(unit, kind, "time_unit")[1])
    low, high = int(ticks.min()), int(ticks.max())
    # Microseconds where they cost no exactness, so that a time between two of the data's own is not rounded to it.
    while names.index(tick) < names.index("us") or names.index(tick) < names.index(wanted):
        needed = names.index(tick) < names.index(wanted)
        if not needed and (8000 * (high - low) > _EXACT or 1000 * max(-low, high) > _FARTHEST):
            break
        low, high, tick = 1000 * low, 1000 * high, names[names.index(tick) + 1]
    return Timeline(kind, low, 1, tick)


def _fit_numbers(kind: str, pooled: np.ndarray) -> Timeline:
    if kind == "int":
        return Timeline(kind, int(pooled.min()), 1)
    # A multiple of the coarsest float spacing between zero and all times: then every difference is exact.
    spacing = float(np.spacing(np.abs(pooled).max()))
    low, high = float(pooled.min()), float(pooled.max())
    nearest = low if low > 0 else high if high < 0 else 0.0
    return Timeline(kind, math.trunc(nearest / spacing) * spacing, 1.0)


def _read_duration(value: Any, kind: str, name: str, otherwise: str = "") -> tuple[int | float, str | None]:
    """A duration as whole ticks and their name, or as a number and None."""
    if hasattr(value, "to_timedelta64"):  # pd.Timedelta, which as a datetime.timedelta would lose its nanoseconds
        value = value.to_timedelta64()
    is_number = isinstance(value, Real | np.number) and not isinstance(value, bool | np.bool_ | np.timedelta64)
    is_span = isinstance(value, np.timedelta64 | datetime.timedelta)
    if (is_number and not math.isfinite(value)) or (is_span and np.isnat(np.timedelta64(value))):
        raise ParameterError(f"{name}={value} must be finite.")
    wants_number = kind in ("float", "int")
    if not (is_number if wants_number else is_span):
        given = "a number" if is_number else "a duration" if is_span else f"of type {type(value).__name__}"
        example = f"{name}=3.0" if wants_number else f"{name}='3h'"
        raise ParameterError(
            f"{name}={value!r} is {given} but the series has {_PLURAL[kind]}{' as times' if wants_number else ''}: "
            f"pass {example}{otherwise}."
        )
    if wants_number:
        return (int(value) if isinstance(value, int | np.integer) else float(value)), None
    check_fixed_length(np.timedelta64(value), name)
    ticks, tick = coarsest_ticks(np.atleast_1d(np.timedelta64(value)))
    return int(ticks[0]), tick


def _shift(ticks: np.ndarray, by: int) -> np.ndarray:
    farthest = max((abs(int(t)) for t in (ticks.min(), ticks.max())), default=0) if ticks.size else 0
    if max(farthest, abs(by)) > _FARTHEST:
        raise DataError("The times are too far from the series' first time for 64 bits: ask for nearer times.")
    return ticks.astype(np.int64) + by


def _scale(ticks: np.ndarray, factor: int) -> np.ndarray:
    if ticks.size and max(abs(int(ticks.min())), abs(int(ticks.max()))) * factor > _FARTHEST:
        raise DataError("The times are too far from the series' first time for 64 bits: ask for nearer times.")
    return ticks * factor


def _divide(ticks: np.ndarray, unit: int | float, fraction: np.ndarray | float = 0.0) -> np.ndarray:
    if isinstance(unit, float):
        return (ticks + fraction) / unit
    # Whole units apart from the rest: the same instant gives the same float whichever tick it was counted in.
    whole, rest = np.divmod(ticks, unit)
    return whole + (rest + fraction) / unit

"""Sums of times and spans, as a person works them out in decimals."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from tsode.core.timeline import coarsest_ticks
from tsode.errors import DataError

__all__ = ["add_spans", "divide", "shift_times"]

_MOST_PLACES = 15  # a decimal number of so many digits is told from its neighbours by a float64
_EXACT = 2**53
_TICKS = ("s", "ms", "us", "ns", "ps", "fs", "as")


def add_spans(
    times: np.ndarray, spans: np.ndarray, counts: np.ndarray | int = 1, parts: np.ndarray | int = 1, dtype: Any = None
) -> np.ndarray:
    """Native times ``times + counts * spans / parts``, rounded once.

    A number stands for the shortest decimal that it is printed as: three times 2.4 is 7.2, as in a table where the
    times are written out, and not the 7.199999999999999 of binary arithmetic. A span that no short decimal stands for,
    such as 1 / 3, is the fraction that it is nearest to. Datetimes and timedeltas are counted in whole ticks.

    Parameters
    ----------
    times : array[n]
        datetime64, timedelta64, float64 or integers.
    spans : array[n] or scalar
        timedelta64 where times are datetimes or timedeltas, else numbers.
    counts, parts : array[n] of int, or int
        A span is taken so many times, and divided by so many; `counts` may be negative.
    dtype : dtype, optional
        That of the times as they were given: a sum of float32 times is a float32.

    Returns
    -------
    array[n]
        Whole numbers stay integers. The unit of datetimes and timedeltas is the finer of both.

    Raises
    ------
    DataError
        If a datetime or timedelta would not fit into 64 bits.
    """
    times, spans, counts, parts = np.broadcast_arrays(times, spans, counts, parts)
    if times.dtype.kind in "mM":
        return _add_ticks(times, spans, counts, parts)
    is_single = getattr(dtype, "kind", "") == "f" and dtype.itemsize < 8
    if times.dtype.kind in "iu" and (spans == np.rint(spans)).all() and (parts == 1).all():
        return times.astype(np.int64) + counts.astype(np.int64) * np.asarray(spans).astype(np.int64)
    total = _add_numbers(times.astype(np.float64), spans.astype(np.float64), counts, parts)
    return total.astype(f"f{dtype.itemsize}").astype(np.float64) if is_single else total


def shift_times(times: np.ndarray, spans: np.ndarray, counts: np.ndarray | int = 1, dtype: Any = None) -> np.ndarray:
    """As `add_spans`, and as they are where a span is NaN, NaT or infinite."""
    has_span = ~np.isnat(spans) if spans.dtype.kind == "m" else np.isfinite(spans)
    later = add_spans(times[has_span], spans[has_span], np.broadcast_to(counts, len(times))[has_span], dtype=dtype)
    shifted = times.astype(np.promote_types(times.dtype, later.dtype))
    shifted[has_span] = later
    return shifted


def divide(amount: float, rate: float) -> float:
    """How long an amount takes at a rate, rounded once: 0.3 at a rate of 0.1 takes 3."""
    exact = _exact(amount) / _exact(rate)
    return exact.numerator / exact.denominator


def _add_ticks(times: np.ndarray, spans: np.ndarray, counts: np.ndarray, parts: np.ndarray) -> np.ndarray:
    length, tick = coarsest_ticks(spans)
    own = np.datetime_data(times.dtype)[0]
    unit = max(tick, own if own in _TICKS else "s", key=_TICKS.index)
    factor = 1000 ** (_TICKS.index(unit) - _TICKS.index(tick))
    first = times.astype(f"{times.dtype.str[1:3]}[{unit}]")
    if (first.astype(times.dtype) != times).any():
        raise _too_far()
    # Python's integers, which do not run over.
    rows = zip(*(x.ravel().tolist() for x in (first.astype(np.int64), length, counts, parts)))
    total = [start + (2 * factor * count * step + part) // (2 * part) for start, step, count, part in rows]
    if any(abs(x) >= 2**63 for x in total):
        raise _too_far()
    return np.array(total, dtype=np.int64).view(first.dtype).reshape(times.shape)


def _too_far() -> DataError:
    return DataError("The times are too far away to count in 64 bits: repeat less often, or ask for nearer times.")


def _add_numbers(times: np.ndarray, spans: np.ndarray, counts: np.ndarray, parts: np.ndarray) -> np.ndarray:
    (first, first_places), (length, length_places) = _decimals(times), _decimals(spans)
    is_decimal = (first_places >= 0) & (length_places >= 0)
    places = np.maximum(first_places, length_places)
    scale = 10.0**places * parts
    shared = first * 10.0 ** (places - first_places) * parts + counts * (length * 10.0 ** (places - length_places))
    # Numerators and denominators that a float64 holds: their quotient is rounded once.
    size = np.abs(first) * 10.0 ** (places - first_places) * parts + np.abs(counts * length) * 10.0 ** (
        places - length_places
    )
    is_held = is_decimal & (size < _EXACT) & (scale < _EXACT)
    total = np.where(is_held, shared, 0.0) / np.where(is_held, scale, 1.0)
    # One sum with a number that is no decimal: nothing better is meant than what it says.
    is_plain = ~is_decimal & (counts == 1) & (parts == 1)
    total = np.where(is_plain, times + spans, total)
    for k in zip(*np.nonzero(~is_held & ~is_plain)):
        exact = _exact(float(times[k])) + _exact(float(spans[k])) * int(counts[k]) / int(parts[k])
        total[k] = exact.numerator / exact.denominator
    return total


@np.errstate(over="ignore")
def _decimals(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers and places of the shortest decimals that floats stand for; -1 place where none is short."""
    whole, places = np.zeros(x.shape), np.full(x.shape, -1)
    single = x.astype(np.float32)
    # What no short decimal gives may have been a float32, which is a decimal of fewer digits.
    for given, most in ((x, 10.0**_MOST_PLACES), (np.where(single == x, single, np.nan).astype(np.float32), 1e7)):
        for place in range(_MOST_PLACES + 1):
            if (places >= 0).all():
                break
            rounded = np.rint(x * 10.0**place)
            value = (rounded / 10.0**place).astype(given.dtype)
            is_short = (places < 0) & (value == given) & (np.abs(rounded) < most)
            whole[is_short], places[is_short] = rounded[is_short], place
    return whole, places


@lru_cache(maxsize=4096)
def _exact(x: float) -> Fraction:
    """The number that a float stands for: its decimal if short, else a fraction of small numbers, else itself."""
    whole, place = _decimals(np.array([x]))
    if place[0] >= 0:
        return Fraction(int(whole[0]), 10 ** int(place[0]))
    near = Fraction(x).limit_denominator(10_000)
    if near.numerator / near.denominator == x:
        return near
    near = Fraction(x).limit_denominator(100)  # of a float32, which fewer numbers have
    return near if float(np.float32(near.numerator / near.denominator)) == x else Fraction(x)

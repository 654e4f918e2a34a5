"""Inputs along time: covariates of a panel that are known ahead, as paths that rates read by name."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from tsode.core.covariates import CovariatePath
from tsode.errors import DataError
from tsode.estimators.forecasters.reader import DataReader
from tsode.frames.panel import CovariateRecord
from tsode.inference.known_paths import KnownPaths

__all__ = ["known_digest", "known_paths", "occasion_numbers", "path_digest"]


def known_paths(
    keys: Sequence[Hashable],
    starts: Sequence[float],
    rows: Sequence[np.ndarray],
    records: Sequence[CovariateRecord | None],
    reader: DataReader,
) -> KnownPaths | None:
    """Paths of what is known of some series, by the rule that all forecasters go by; None where fit knew nothing.

    Between two of its times an input is a straight line or holds, by `known_path`; nothing is said before its first,
    nor, of a line, after its last.

    Parameters
    ----------
    keys, starts : sequence
        Of the series, and when each begins, in model time.
    rows : sequence of array
        Times of their rows, in model time.
    records : sequence of CovariateRecord
    reader : DataReader

    Raises
    ------
    DataError
        If a series begins before an input does, or has rows after it has ended.
    """
    coder = reader.covariates
    if coder is None or not coder.known:
        return None
    if coder.levels:
        raise DataError(
            f"known= has the column {next(iter(coder.levels))!r} of categories, but rates read numbers: give columns "
            "of numbers, such as 0 and 1."
        )
    occasion = coder.known.index(coder.steps[0]) if coder.steps else None
    holds, shape = coder._holds, (len(keys), max(len(_times(record)) for record in records))
    times = np.full(shape, np.inf)
    values, slopes = np.zeros((2, *shape, len(coder.known)))
    until = np.full(len(keys), np.inf)
    for row, (key, start, seen, record) in enumerate(zip(keys, starts, rows, records)):
        path = _path(record, reader, start)
        n = len(path.times)
        times[row, :n], values[row, :n], slopes[row, :n] = path.times, path.values, path.slopes
        values[row, n:] = path.values[-1:]
        for place, name in enumerate(coder.known):
            first, last = _span(record, place, reader)
            if start < first and place != occasion:
                _refuse(key, name, "begins", first, "starts", start, reader, "an earlier row of it")
            end = np.inf if holds[place] else last
            if len(seen) and seen[-1] > end:
                _refuse(
                    key, name, "ends", end, "has a row", seen[-1], reader,
                    "later rows, or known_path='last' to hold the last value",
                )  # fmt: skip
            until[row] = min(until[row], end)
    return KnownPaths(tuple(map(str, coder.known)), *map(torch.from_numpy, (times, values, slopes, until)))


def occasion_numbers(record: CovariateRecord, reader: DataReader) -> tuple[list[float], np.ndarray]:
    """Occasions of a series as tables call them, in the order in which they come first, and its path by their places.

    An occasion that comes back is the same one.
    """
    coder = reader.covariates
    if coder is None or not coder.steps or record.times is None or record.values is None:
        return [], np.zeros(0)
    column = record.values[:, coder.known.index(coder.steps[0])]
    labels = list(dict.fromkeys(column[~np.isnan(column)].tolist()))
    held = CovariatePath.last_value(np.arange(len(column)), column[:, None], []).values[:, 0]
    return labels, np.array([labels.index(x) for x in held.tolist()], dtype=np.float64)


def known_digest(record: CovariateRecord | None, start: float, last: float, reader: DataReader) -> bytes:
    """Bytes that are the same for inputs that are the same up to the time `last`."""
    if reader.covariates is None or record is None or record.times is None:
        return b""
    path = _path(record, reader, start)
    return _bytes(path.times, path.values, path.slopes, last)


def path_digest(paths: KnownPaths, row: int, last: float) -> bytes:
    """The same of one series of a fit."""
    return _bytes(paths.times[row].numpy(), paths.values[row].numpy(), paths.slopes[row].numpy(), last)


def _bytes(times: np.ndarray, values: np.ndarray, slopes: np.ndarray, last: float) -> bytes:
    n = int(np.searchsorted(times, last, side="left"))
    place = max(n - 1, 0)
    there = values[place] + slopes[place] * (last - times[place])
    return b"".join(np.ascontiguousarray(part).tobytes() for part in (times[:n], values[:n], there))


def _times(record: CovariateRecord | None) -> np.ndarray:
    return np.zeros(0) if record is None or record.times is None else record.times


def _path(record: CovariateRecord | None, reader: DataReader, start: float) -> CovariatePath:
    assert record is not None
    assert record.values is not None
    assert reader.covariates is not None
    times = reader.timeline.to_model(_times(record))
    coder = reader.covariates
    path = CovariatePath.through(times, record.values, [], coder._holds)
    if not coder.steps:
        return path
    values, knots = path.values.copy(), path.times.copy()
    values[:, coder.known.index(coder.steps[0])] = occasion_numbers(record, reader)[1]
    knots[0] = min(knots[0], start)  # the first occasion has been going on from the start
    return replace(path, times=knots, values=values)


def _span(record: CovariateRecord | None, place: int, reader: DataReader) -> tuple[float, float]:
    """First and last time at which an input has a value."""
    assert record is not None
    assert record.values is not None
    given = reader.timeline.to_model(_times(record))[~np.isnan(record.values[:, place])]
    return float(given[0]), float(given[-1])


def _refuse(
    key: Hashable, name: Hashable, does: str, at: float, what: str, when: float, reader: DataReader, remedy: str
) -> None:
    first, second = (reader.timeline.to_native(np.array([t]))[0] for t in (at, when))
    shown: Any = name
    raise DataError(
        f"known={shown!r} of series {key!r} {does} at {first}, but the series {what} at {second}: give {remedy}."
    )

"""Levels of a crossing: one or several, for all series or for each."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from tsode.errors import DataError, ParameterError
from tsode.frames.labels import guess_label
from tsode.frames.static import read_static
from tsode.numerics.first_passage import check_direction

__all__ = ["Levels", "read_levels_of_series"]


@dataclass(frozen=True, eq=False)
class Levels:
    """Levels of each series.

    Parameters
    ----------
    names : list of str
        One a level.
    values : array[b l]
    directions : list of str
        One a level.
    """

    names: list[str]
    values: np.ndarray
    directions: list[str]


def read_levels_of_series(
    level: Any, level_col: Hashable, static: Any, direction: Any, ids: Sequence[Hashable], id_col: Hashable
) -> Levels:
    """Read what `predict_crossing` takes as a level.

    Parameters
    ----------
    level : number, list of numbers, dict or Series of id to number, dict of name to any of these, or DataFrame
    level_col : label or None
        Column of a table of one row a series: of `level`, where that is one, or else of `static`.
    static : DataFrame or None
    direction : str or dict of name to str
    ids : list of label
        Of the series asked about.
    id_col : label

    Raises
    ------
    ParameterError, DataError
    """
    if level_col is not None:
        table = static if level is None else level
        if table is None:
            raise ParameterError(f"level_col={level_col!r} names a column: pass its table as level= or static=.")
        frame = read_static(table, ids, id_col)
        if level_col not in frame.columns:
            guess = guess_label(level_col, list(frame.columns))
            raise DataError(f"level_col={level_col!r} is no column of the table, which has {list(frame)}.{guess}")
        level = frame[level_col]
    elif isinstance(level, pd.DataFrame):
        raise ParameterError("level= is a DataFrame: name its column by level_col=.")
    if isinstance(level, pd.Series):
        level = level.to_dict()
    if isinstance(level, Mapping):
        if not level:
            raise ParameterError("level={} is empty: give at least one level.")
        known = set(ids)
        n_ids = sum(key in known for key in level)
        if n_ids or level_col is not None:
            named = {"level": level}
        else:
            named = {str(name): value for name, value in level.items()}
    elif isinstance(level, list | tuple | np.ndarray):
        if not len(level):
            raise ParameterError("level=[] is empty: give at least one level.")
        named = {f"{_number(value, 'level'):g}": value for value in level}
        if len(named) < len(level):
            raise ParameterError(f"level={level!r} has a level more than once: give each once.")
    else:
        named = {"level" if level is None else f"{_number(level, 'level'):g}": level}
    values = np.stack([_of_each(value, name, ids) for name, value in named.items()], axis=1)
    return Levels(list(named), values, _directions(direction, list(named)))


def _of_each(value: Any, name: str, ids: Sequence[Hashable]) -> np.ndarray:
    if isinstance(value, pd.Series):
        value = value.to_dict()
    if not isinstance(value, Mapping):
        return np.full(len(ids), _number(value, name))
    lacking = [key for key in ids if key not in value]
    if lacking:
        known = ", ".join(map(repr, list(value)[:5]))
        raise DataError(
            f"level= has nothing for series {lacking[0]!r} (it has {known}): give a level to each series asked about, "
            "or ask about fewer by X= or before=. Names of competing levels must not be ids."
        )
    return np.array([_number(value[key], f"level of series {key!r}") for key in ids])


def _number(value: Any, name: str) -> float:
    if not isinstance(value, Real | np.number) or isinstance(value, bool) or not np.isfinite(float(value)):
        raise ParameterError(f"{name}={value!r} must be a finite number, in the units of the data.")
    return float(value)


def _directions(direction: Any, names: Sequence[str]) -> list[str]:
    if not isinstance(direction, Mapping):
        return [check_direction(direction)] * len(names)
    lacking = [name for name in names if name not in direction]
    if lacking:
        raise ParameterError(f"direction= has nothing for level {lacking[0]!r}: give one of up, down, either to each.")
    return [check_direction(direction[name]) for name in names]

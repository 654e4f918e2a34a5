"""Leftovers of CSV files: the row numbers that pandas had saved, and columns that it renamed."""

from __future__ import annotations

import re
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from tsode.errors import TsodeWarning
from tsode.frames.panel import Panel

__all__ = ["drop_row_numbers", "without_leftovers"]


def without_leftovers(panel: Panel) -> Panel:
    """The panel without columns that have no name of their own, and without second copies of a column.

    Warns
    -----
    TsodeWarning
        Which are left out; also that "c.1" is read although it may be another "c", if their values differ.
    """
    unnamed = _unnamed(panel.channels)
    left_out = list(unnamed)
    for name, first in _renamed(panel.channels).items():
        pair = [panel.channels.index(name), panel.channels.index(first)]
        if all(np.array_equal(values[:, pair[0]], values[:, pair[1]], equal_nan=True) for values in panel.values):
            left_out.append(name)
        else:
            warnings.warn(
                f"There are columns {first!r} and {name!r}, which is what pandas calls a second {first!r}: "
                "both are read, as two channels. Rename or drop one.",
                TsodeWarning,
                stacklevel=4,
            )
    kept = [place for place, name in enumerate(panel.channels) if name not in left_out]
    if not left_out or not kept:
        return panel
    _warn(left_out, stacklevel=5)
    channels = [panel.channels[place] for place in kept]
    return replace(panel, channels=channels, values=[values[:, kept] for values in panel.values])


def drop_row_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame without the columns that pandas calls "Unnamed: 0", "Unnamed: 1", ..., which it had saved as an index.

    Warns
    -----
    TsodeWarning
        Which are left out.
    """
    unnamed = _unnamed(list(frame.columns))
    if unnamed:
        _warn(unnamed, stacklevel=4)
    return frame.drop(columns=unnamed)


def _unnamed(columns: Sequence[Hashable]) -> list[Hashable]:
    return [name for name in columns if isinstance(name, str) and re.fullmatch(r"Unnamed: \d+(_level_\d+)?", name)]


def _renamed(columns: Sequence[Hashable]) -> dict[Hashable, Hashable]:
    """Columns called as pandas renames the second, third, ... of a name, and the first of it."""
    renamed: dict[Hashable, Hashable] = {}
    for name in columns:
        match = re.fullmatch(r"(.+)\.([1-9]\d*)", name) if isinstance(name, str) else None
        before = [] if match is None else [match[1], *(f"{match[1]}.{k}" for k in range(1, int(match[2])))]
        if match and set(before) <= set(columns):
            renamed[name] = match[1]
    return renamed


def _warn(names: list[Hashable], stacklevel: int) -> None:
    shown = ", ".join(map(repr, names))
    warnings.warn(
        f"Left out {shown}: what pandas calls so is an index that was saved, or the copy of another column. Rename a "
        "column to have it read.",
        TsodeWarning,
        stacklevel=stacklevel,
    )

"""Standard errors of observations: columns of a table beside those that are forecast."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from tsode.errors import DataError, ParameterError
from tsode.frames.labels import labels
from tsode.frames.panel import Panel

__all__ = ["check_standard_errors", "columns_beside", "error_columns", "match_errors"]


def columns_beside(forecaster: Any) -> list[Hashable]:
    """Columns that a forecaster reads beside its targets: past covariates and standard errors."""
    read = labels(getattr(forecaster, "past_covariates", None))
    return [*read, *error_columns(getattr(forecaster, "noise_col", None))]


def error_columns(noise_col: Any) -> list[Hashable]:
    """Columns that are named, by one label or by a dict of target to column.

    Raises
    ------
    ParameterError
        If two targets share one.
    """
    columns = list(noise_col.values()) if isinstance(noise_col, Mapping) else labels(noise_col)
    if len(set(columns)) < len(columns):
        raise ParameterError(f"noise_col={noise_col!r} has one column for two targets: give each its own.")
    return columns


def match_errors(noise_col: Any, targets: Sequence[Hashable]) -> dict[Hashable, Hashable]:
    """Column of the standard errors of each target that has one.

    Raises
    ------
    ParameterError
        If it is not clear which target a column belongs to.
    """
    if isinstance(noise_col, Mapping):
        for name in noise_col:
            if name not in targets:
                raise ParameterError(f"noise_col= names the target {name!r}, but the targets are {list(targets)}.")
        return dict(noise_col)
    columns = error_columns(noise_col)
    if not columns:
        return {}
    if len(columns) != 1 or len(targets) != 1:
        raise ParameterError(
            f"noise_col={noise_col!r} does not say whose standard errors they are, for the targets are "
            f"{list(targets)}: give a dict, as in noise_col={{{targets[0]!r}: {columns[0]!r}}}."
        )
    return {targets[0]: columns[0]}


def check_standard_errors(panel: Panel, columns: Sequence[Hashable]) -> None:
    """Raise a DataError if a standard error is below zero."""
    for name in columns:
        c = panel.channels.index(name)
        for key, times, values in zip(panel.ids, panel.times, panel.values):
            bad = np.flatnonzero(values[:, c] < 0.0)
            if len(bad):
                whose = f" of series {key!r}" if panel.layout.has_ids else ""
                raise DataError(
                    f"The standard error {values[bad[0], c]:g} in {name!r}{whose} at {times[bad[0]]} is below zero: "
                    "mend it, or set it to NaN where it is not known."
                )

"""Constants of series, of the table `static`, as columns that covariates of a population are read from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tsode.estimators.forecasters.reader import DataReader
from tsode.frames.panel import CovariateRecord

__all__ = ["constants"]


def constants(records: Sequence[CovariateRecord | None], reader: DataReader) -> dict[str, np.ndarray]:
    """Columns (n,) of some series by name: numbers, NaN where missing, or categories, None where missing."""
    coder = reader.covariates
    if coder is None or not coder.static:
        return {}
    width = coder.n_static
    rows = np.stack([
        np.full(width, np.nan) if one is None or one.static is None else np.asarray(one.static) for one in records
    ])  # fmt: skip
    columns, at = {}, 0
    for column in coder.static:
        part = rows[:, at : at + column.width]
        at += column.width
        if column.categories is None:
            columns[str(column.name)] = part[:, 0]
            continue
        labels = [column.categories[int(one.argmax())] if one.max(initial=0.0) > 0 else None for one in part]
        columns[str(column.name)] = np.array(labels, dtype=object)
    return columns

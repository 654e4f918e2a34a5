"""Tables of the tasks, by pandas alone: what is bundled in `datasets/`, and the folder of TSODE_REAL_DATA."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from tests.benchmarks.structural_parts.scores import missing_file, read

__all__ = ["bundled", "folds", "is_bundled", "needs", "read", "rekeyed", "wide"]

DATASETS = Path(__file__).resolve().parents[3] / "datasets"


def bundled(name: str) -> pd.DataFrame:
    """A table of `datasets/`, long, with the columns series, time, channel and value."""
    table = pd.read_parquet(DATASETS / f"{name}.parquet")
    return table.assign(series=table["series"].astype(str).to_numpy(dtype=object))


def is_bundled() -> None:
    """No file is missing: it comes with the checkout."""


def needs(*names: str) -> Callable[[], str | None]:
    """Why a file of the folder of real data cannot be read, or None."""
    return lambda: next((why for name in names if (why := missing_file(name))), None)


def wide(long: pd.DataFrame, channels: dict[str, str], time: str = "time") -> pd.DataFrame:
    """Ids, times and the channels named, under their new names; duplicates are averaged."""
    chosen = long[long["channel"].isin(list(channels))]
    names = chosen["channel"].astype(object).map(channels)
    value = chosen["value"].astype(float).groupby([chosen["series"].astype(str), chosen[time], names]).mean()
    table = value.unstack()[list(channels.values())].sort_index()
    table.index.names, table.columns.name = ["unique_id", "ds"], None
    return table.reset_index()


def folds(ids: np.ndarray, n: int, seed: int) -> list[np.ndarray]:
    """Parts of the ids, sorted first, that are held out in turn."""
    return np.array_split(np.random.default_rng(seed).permutation(np.array(sorted(ids), dtype=object)), n)


def rekeyed(table: pd.DataFrame, name: str, key: str) -> pd.DataFrame:
    """Rows of one series under another id: a history that ends at another time is a series of its own."""
    return table[table["unique_id"] == name].assign(unique_id=key)

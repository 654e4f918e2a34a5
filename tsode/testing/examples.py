"""Irregular, partly observed data for the checks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch

__all__ = ["START", "example_batch", "example_panel"]

START = pd.Timestamp("2024-03-01")


def example_panel(n_series: int = 12, seed: int = 0) -> pd.DataFrame:
    """A long frame of irregular series with two channels, 40 % of their values missing.

    Every series spans 64 hours and all times are quarters of an hour, so that the times in units of one horizon (half
    a span) are exact in binary, whatever unit the frame counts in.
    """
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(n_series):
        inner = rng.choice(np.arange(1, 256), rng.integers(8, 22), replace=False)
        quarters = np.sort(np.concatenate([[0], inner, [256]]))
        hours = quarters / 4.0
        wave = np.sin(hours / 8.0 + rng.uniform(0, 6))
        a = 10.0 + 2.0 * wave + 0.3 * rng.normal(size=len(hours))
        b = -300.0 + 50.0 * wave**2 + 5.0 * rng.normal(size=len(hours))
        values = np.where(rng.random((len(hours), 2)) < 0.6, np.stack([a, b], axis=1), np.nan)
        values[[0, -1], 0] = a[[0, -1]]
        when = START + pd.to_timedelta(15 * quarters, unit="min")
        frames.append(pd.DataFrame({"unique_id": f"s{number}", "ds": when, "a": values[:, 0], "b": values[:, 1]}))
    return pd.concat(frames, ignore_index=True)


def example_batch(n_channels: int, dtype: torch.dtype = torch.float64) -> tuple[IrregularBatch, Tensor]:
    """Histories of 9, 1, 5, 0 and 14 events, some of them partly or wholly unseen, and five query times of each row.

    Queries stand before, between, at and after the events. Times are multiples of 1/64.
    """
    rng = np.random.default_rng(7)
    times, values = [], []
    for n in (9, 1, 5, 0, 14):
        times.append(np.sort(rng.choice(np.arange(1, 129), n, replace=False)) / 64.0)
        seen = rng.random((n, n_channels)) < 0.6
        seen[: n - 2, 0] |= ~seen[: n - 2].any(axis=1)  # of the last two, either may have seen nothing
        values.append(np.where(seen, rng.normal(size=(n, n_channels)), np.nan))
    batch = IrregularBatch.from_arrays(times, values, dtype)
    queries = torch.from_numpy(rng.integers(0, 192, (5, 5)) / 64.0)
    queries[0, 2], queries[4, 1] = batch.times[0, 3], batch.times[4, 6]
    return batch, queries

"""Forecasters fitted on the example panel, and comparisons of what they forecast at a few times."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from sklearn.base import clone

from tsode.testing.assertions import assert_frames_close, tolerance
from tsode.testing.examples import example_panel

__all__ = ["TIMES", "assert_same", "fitted_on_example", "rounding", "rows_of", "seeded_on_example"]

TIMES = pd.DatetimeIndex(["2024-02-28 01:00", "2024-03-02 12:30", "2024-03-03 16:00", "2024-03-05 07:15"])


def fitted_on_example(estimator: Any) -> Any:
    """The estimator itself if it is fitted (on `example_panel`), else a clone that is, with a seed."""
    if hasattr(estimator, "channels_"):
        return estimator
    fresh = clone(estimator).set_params(random_state=0)
    assert fresh.fit(example_panel()) is fresh, "fit does not return self."
    return fresh


def seeded_on_example(estimator: Any) -> Any:
    """As `fitted_on_example`, but never one without a seed, whose fit could not be repeated."""
    return fitted_on_example(estimator if isinstance(estimator.random_state, int) else clone(estimator))


def rounding(estimator: Any) -> float:
    """Largest difference, as a share of the largest value, that the dtype of a forecaster may make."""
    return tolerance(getattr(torch, getattr(estimator, "dtype", "float64")))


def rows_of(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    """Rows of one series."""
    return frame[frame["unique_id"] == key].reset_index(drop=True)


def assert_same(estimator: Any, actual: pd.DataFrame, expected: pd.DataFrame, promise: str) -> None:
    """Raise with the `promise` unless two forecasts are the same up to rounding."""
    assert_frames_close(actual, expected, promise, rounding(estimator))

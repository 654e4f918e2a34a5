"""Scores of quantiles, and the folder of the data: numpy and pandas only, for other environments read it too."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

__all__ = ["FOLDER", "LEVELS", "crps", "holds", "missing_file", "read"]

FOLDER = Path(os.environ.get("TSODE_REAL_DATA", Path(__file__).resolve().parents[4] / "shared" / "data" / "real"))
LEVELS = np.arange(1, 20) / 20


def missing_file(name: str) -> str | None:
    """Why a file of the data cannot be read, or None."""
    path = FOLDER / f"{name}.parquet"
    return None if path.exists() else f"no {path}: set TSODE_REAL_DATA to the folder of the data"


def read(name: str) -> pd.DataFrame:
    """Long table with the columns series, time, channel and value."""
    return pd.read_parquet(FOLDER / f"{name}.parquet")


def crps(truth: np.ndarray, quantiles: np.ndarray) -> float:
    """Mean over values (n) of twice the mean pinball loss of their quantiles (n 19)."""
    error = truth[:, None] - quantiles
    return float(2.0 * np.maximum(LEVELS * error, (LEVELS - 1.0) * error).mean())


def holds(truth: np.ndarray, quantiles: np.ndarray) -> float:
    """Per cent of values within their intervals of 90 %."""
    return float(100.0 * ((truth >= quantiles[:, 0]) & (truth <= quantiles[:, -1])).mean())

"""Automatic fits of one series, as all parts make them."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd

from tests.benchmarks.structural_parts.scores import LEVELS
from tsode import LinearSDEForecaster
from tsode.models.structural.season import Season

__all__ = ["fit", "quantiles", "season_weight", "series"]


def fit(times: Any, values: Any, components: Any = "auto", support: str = "auto") -> tuple[LinearSDEForecaster, float]:
    """A forecaster of one series, and the CPU seconds of its fit."""
    data = series(times, values)
    started = time.process_time()
    forecaster = LinearSDEForecaster(components=components, support=support, random_state=0).fit(data)
    return forecaster, time.process_time() - started


def series(times: Any, values: Any) -> pd.Series:
    return pd.Series(np.asarray(values, dtype=float), index=np.asarray(times), name="value")


def quantiles(forecaster: LinearSDEForecaster, times: Any) -> np.ndarray:
    """array[n 19]."""
    return forecaster.predict_quantiles(times=np.asarray(times), quantiles=list(LEVELS)).to_numpy()


def season_weight(forecaster: LinearSDEForecaster, low: float = 0.0, high: float = np.inf) -> float:
    """Weight of the members that have a season of a period between two numbers of the data's own time."""
    (channel,) = forecaster.module_.channels
    unit = channel.span * float(forecaster.time_unit_)

    def has(member: Any) -> bool:
        seasons = [one for one in member.structure.components if isinstance(one, Season)]
        return any(low <= one.period * unit <= high for one in seasons)

    return float(sum(member.weight for member in channel.members if has(member)))

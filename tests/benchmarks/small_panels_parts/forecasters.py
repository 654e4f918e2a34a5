"""Settings of the forecasters that every part measures: changed here, they change everywhere."""

from __future__ import annotations

from typing import Any

from tsode import JumpODEForecaster, LinearSDEForecaster
from tsode.estimators import BaseForecaster

__all__ = ["forecaster", "rated"]


def forecaster(seed: int, **task: Any) -> BaseForecaster:
    """The one that the bars are for. The task says what a user would: `horizon`, `target`, no more."""
    return JumpODEForecaster(random_state=seed, **task)


def rated(seed: int, **task: Any) -> BaseForecaster:
    """A linear SDE with nine classes of frequency, beside it."""
    return LinearSDEForecaster(series_rates=9, random_state=seed, **task)

"""tsode: forecasts for time series that do not tick."""

from tsode.estimators import (
    ConstantForecaster,
    DriftForecaster,
    JumpODEForecaster,
    LastValueForecaster,
    LatentODEForecaster,
    LatentSDEForecaster,
    LinearSDEForecaster,
    PointProcessForecaster,
)
from tsode.frames.events import EventTable
from tsode.solve import solve, solve_schedule

__all__ = [
    "ConstantForecaster",
    "DriftForecaster",
    "EventTable",
    "JumpODEForecaster",
    "LastValueForecaster",
    "LatentODEForecaster",
    "LatentSDEForecaster",
    "LinearSDEForecaster",
    "PointProcessForecaster",
    "__version__",
    "solve",
    "solve_schedule",
]

__version__ = "0.1.0"

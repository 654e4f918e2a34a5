"""tsode: forecasts for time series that do not tick."""

from tsode.errors import ZenoError
from tsode.estimators import (
    ConstantForecaster,
    DriftForecaster,
    JumpODEForecaster,
    LastValueForecaster,
    LatentODEForecaster,
    LatentSDEForecaster,
    LinearSDEForecaster,
    PathRegressor,
    PointProcessForecaster,
    SeriesClassifier,
    SeriesEncoder,
    SeriesRegressor,
)
from tsode.frames.events import EventTable
from tsode.frames.whole import Whole
from tsode.numerics.crossings import integrate_events
from tsode.numerics.events import Event
from tsode.solve import find_crossings, solve, solve_schedule

__all__ = [
    "ConstantForecaster",
    "DriftForecaster",
    "Event",
    "EventTable",
    "JumpODEForecaster",
    "LastValueForecaster",
    "LatentODEForecaster",
    "LatentSDEForecaster",
    "LinearSDEForecaster",
    "PathRegressor",
    "PointProcessForecaster",
    "SeriesClassifier",
    "SeriesEncoder",
    "SeriesRegressor",
    "Whole",
    "ZenoError",
    "__version__",
    "find_crossings",
    "integrate_events",
    "solve",
    "solve_schedule",
]

__version__ = "0.1.0"

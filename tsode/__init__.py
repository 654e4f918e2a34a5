"""tsode: forecasts for time series that do not tick."""

from tsode.estimators import (
    ConstantForecaster,
    DriftForecaster,
    JumpODEForecaster,
    LastValueForecaster,
    LatentODEForecaster,
    LatentSDEForecaster,
    LinearSDEForecaster,
)
from tsode.frames.events import EventTable

__all__ = [
    "ConstantForecaster",
    "DriftForecaster",
    "EventTable",
    "JumpODEForecaster",
    "LastValueForecaster",
    "LatentODEForecaster",
    "LatentSDEForecaster",
    "LinearSDEForecaster",
    "__version__",
]

__version__ = "0.1.0"

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
)
from tsode.numerics.crossings import integrate_events
from tsode.numerics.events import Event

__all__ = [
    "ConstantForecaster",
    "DriftForecaster",
    "Event",
    "JumpODEForecaster",
    "LastValueForecaster",
    "LatentODEForecaster",
    "LatentSDEForecaster",
    "LinearSDEForecaster",
    "ZenoError",
    "__version__",
    "integrate_events",
]

__version__ = "0.1.0"

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

__all__ = [
    "ConstantForecaster",
    "DriftForecaster",
    "JumpODEForecaster",
    "LastValueForecaster",
    "LatentODEForecaster",
    "LatentSDEForecaster",
    "LinearSDEForecaster",
    "PointProcessForecaster",
    "__version__",
]

__version__ = "0.1.0"

"""tsode: forecasts for time series that do not tick."""

import warnings
from typing import Any

from tsode._registry import Part, part, register
from tsode.control import forecast_functional, plan, replan
from tsode.errors import ZenoError
from tsode.estimators import (
    AutoForecaster,
    ConstantForecaster,
    DirectForecaster,
    DriftForecaster,
    JumpODEForecaster,
    KnownODEForecaster,
    KnownSDEForecaster,
    LastValueForecaster,
    LatentODEForecaster,
    LatentSDEForecaster,
    LinearSDEForecaster,
    PathRegressor,
    PointProcessForecaster,
    SeasonalNaiveForecaster,
    SeriesClassifier,
    SeriesEncoder,
    SeriesRegressor,
    compare_models,
)
from tsode.frames.events import EventTable
from tsode.frames.nonmem import NonmemData, read_nonmem
from tsode.frames.unsplit import Unsplit
from tsode.numerics.crossings import integrate_triggers
from tsode.numerics.surfaces import Trigger
from tsode.solve import find_crossings, solve, solve_schedule
from tsode.structures import compare_structures

__all__ = [
    "AutoForecaster",
    "ConstantForecaster",
    "DirectForecaster",
    "DriftForecaster",
    "EventTable",
    "JumpODEForecaster",
    "KnownODEForecaster",
    "KnownSDEForecaster",
    "LastValueForecaster",
    "LatentODEForecaster",
    "LatentSDEForecaster",
    "LinearSDEForecaster",
    "NonmemData",
    "Part",
    "PathRegressor",
    "PointProcessForecaster",
    "SeasonalNaiveForecaster",
    "SeriesClassifier",
    "SeriesEncoder",
    "SeriesRegressor",
    "Trigger",
    "Unsplit",
    "ZenoError",
    "__version__",
    "compare_models",
    "compare_structures",
    "find_crossings",
    "forecast_functional",
    "integrate_triggers",
    "part",
    "plan",
    "read_nonmem",
    "register",
    "replan",
    "solve",
    "solve_schedule",
]

__version__ = "0.1.0"

_RENAMED = {"Event": "Trigger", "Whole": "Unsplit", "integrate_events": "integrate_triggers"}


def __getattr__(name: str) -> Any:
    """Names of before 0.2, which still work and warn."""
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"tsode.{name} is called tsode.{_RENAMED[name]} now.", DeprecationWarning, stacklevel=2)
    return globals()[_RENAMED[name]]

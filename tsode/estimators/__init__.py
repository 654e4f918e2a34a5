"""Forecasters with scikit-learn's interface."""

from tsode._registry import Registry
from tsode.estimators.auto.forecaster import AutoForecaster
from tsode.estimators.forecasters.base import BaseForecaster
from tsode.estimators.forecasters.baselines import ConstantForecaster, DriftForecaster, LastValueForecaster
from tsode.estimators.forecasters.direct import DirectForecaster
from tsode.estimators.forecasters.jump_ode import JumpODEForecaster
from tsode.estimators.forecasters.latent_ode import LatentODEForecaster
from tsode.estimators.forecasters.latent_sde import LatentSDEForecaster
from tsode.estimators.forecasters.linear_sde import LinearSDEForecaster
from tsode.estimators.forecasters.seasonal_naive import SeasonalNaiveForecaster
from tsode.estimators.known_ode.forecaster import KnownODEForecaster
from tsode.estimators.known_ode.reports import compare_models
from tsode.estimators.known_sde.forecaster import KnownSDEForecaster
from tsode.estimators.path_regressor import PathRegressor
from tsode.estimators.point_process.forecaster import PointProcessForecaster
from tsode.estimators.series.classifier import SeriesClassifier
from tsode.estimators.series.encoder import SeriesEncoder
from tsode.estimators.series.regressor import SeriesRegressor

__all__ = [
    "FORECASTERS",
    "AutoForecaster",
    "BaseForecaster",
    "ConstantForecaster",
    "DirectForecaster",
    "DriftForecaster",
    "JumpODEForecaster",
    "KnownODEForecaster",
    "KnownSDEForecaster",
    "LastValueForecaster",
    "LatentODEForecaster",
    "LatentSDEForecaster",
    "LinearSDEForecaster",
    "PathRegressor",
    "PointProcessForecaster",
    "SeasonalNaiveForecaster",
    "SeriesClassifier",
    "SeriesEncoder",
    "SeriesRegressor",
    "compare_models",
]

FORECASTERS: Registry[type[BaseForecaster]] = Registry(
    "forecaster",
    BaseForecaster,
    {
        cls.__name__: cls
        for cls in (
            AutoForecaster,
            JumpODEForecaster,
            LatentODEForecaster,
            LatentSDEForecaster,
            LinearSDEForecaster,
            DirectForecaster,
            ConstantForecaster,
            LastValueForecaster,
            DriftForecaster,
            SeasonalNaiveForecaster,
        )
    },
)
"""Forecasters by name. Those with `is_baseline` are in every table of scores, one of them where a season is known."""

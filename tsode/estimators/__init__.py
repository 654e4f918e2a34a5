"""Forecasters with scikit-learn's interface."""

from tsode.estimators.base import BaseForecaster
from tsode.estimators.baselines import ConstantForecaster, DriftForecaster, LastValueForecaster
from tsode.estimators.jump_ode import JumpODEForecaster
from tsode.estimators.latent_ode import LatentODEForecaster
from tsode.estimators.latent_sde import LatentSDEForecaster
from tsode.estimators.linear_sde import LinearSDEForecaster
from tsode.estimators.path_regressor import PathRegressor
from tsode.estimators.point_process import PointProcessForecaster
from tsode.estimators.series_classifier import SeriesClassifier
from tsode.estimators.series_encoder import SeriesEncoder
from tsode.estimators.series_regressor import SeriesRegressor

__all__ = [
    "FORECASTERS",
    "BaseForecaster",
    "ConstantForecaster",
    "DriftForecaster",
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
]

FORECASTERS: dict[str, type[BaseForecaster]] = {
    made.__name__: made
    for made in (
        ConstantForecaster,
        DriftForecaster,
        JumpODEForecaster,
        LastValueForecaster,
        LatentODEForecaster,
        LatentSDEForecaster,
        LinearSDEForecaster,
    )
}

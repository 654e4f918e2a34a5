"""Influence of what a forecaster was trained on: leave-one-out changes of forecasts, and bounds of them."""

from tsode.influence.series_influence import influence
from tsode.influence.uniform_stability import ridge_bound, stability_bound

__all__ = ["influence", "ridge_bound", "stability_bound"]

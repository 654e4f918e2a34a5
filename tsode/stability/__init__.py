"""Stability of fields, maps and fitted forecasters: fixed points, Lyapunov exponents, horizons."""

from tsode.stability.exponents import UnsettledError, lyapunov_spectrum, predictability_horizon
from tsode.stability.fixed_points import fixed_points
from tsode.stability.flow import EvolvedFlow, FieldFlow, Flow, Map, MapFlow, as_flow

__all__ = [
    "EvolvedFlow",
    "FieldFlow",
    "Flow",
    "Map",
    "MapFlow",
    "UnsettledError",
    "as_flow",
    "fixed_points",
    "lyapunov_spectrum",
    "predictability_horizon",
]

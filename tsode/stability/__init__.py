"""Stability of fields and maps: fixed points, Lyapunov exponents, cycles, normal forms, manifolds."""

from tsode.stability.basin_edge import basin_distance
from tsode.stability.basins import basin
from tsode.stability.continuation import continuation
from tsode.stability.cycle import limit_cycle
from tsode.stability.exponents import lyapunov_spectrum, predictability_horizon
from tsode.stability.finite_time import finite_time_exponents
from tsode.stability.fitted import FittedSystem
from tsode.stability.fixed_points import fixed_points
from tsode.stability.flow import FieldFlow, Flow, Map, MapFlow, as_flow
from tsode.stability.forecasters import fitted_system
from tsode.stability.jacobian import jacobian
from tsode.stability.manifold import invariant_manifold
from tsode.stability.normal_form import normal_form
from tsode.stability.period_map import period_map
from tsode.stability.predictability import predictability_class

__all__ = [
    "FieldFlow",
    "FittedSystem",
    "Flow",
    "Map",
    "MapFlow",
    "as_flow",
    "basin",
    "basin_distance",
    "continuation",
    "finite_time_exponents",
    "fitted_system",
    "fixed_points",
    "invariant_manifold",
    "jacobian",
    "limit_cycle",
    "lyapunov_spectrum",
    "normal_form",
    "period_map",
    "predictability_class",
    "predictability_horizon",
]

"""Control of forecast systems: functionals of their paths, and values by backward equations."""

from tsode.control.backward_sde import BackwardSolution, backward_sde
from tsode.control.forward_sde import ForwardSDE, fitted_forward
from tsode.control.functionals import forecast_functional
from tsode.control.path_functionals import maximum, payoff, time_in_range

__all__ = [
    "BackwardSolution",
    "ForwardSDE",
    "backward_sde",
    "fitted_forward",
    "forecast_functional",
    "maximum",
    "payoff",
    "time_in_range",
]

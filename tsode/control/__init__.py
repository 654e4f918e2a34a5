"""Control of forecast systems: functionals of their paths, and values by backward equations."""

from tsode.control.functionals import forecast_functional
from tsode.control.path_functionals import maximum, payoff, time_in_range

__all__ = ["forecast_functional", "maximum", "payoff", "time_in_range"]

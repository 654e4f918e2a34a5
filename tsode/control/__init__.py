"""Control of forecast systems: plans, objectives and limits, functionals of paths, and backward equations."""

from tsode.control.actions import Doses, Input
from tsode.control.backward_sde import BackwardSolution, backward_sde
from tsode.control.chance_limit import ChanceLimit
from tsode.control.expected_cost import ExpectedCost
from tsode.control.forward_sde import ForwardSDE, fitted_forward
from tsode.control.functionals import forecast_functional
from tsode.control.path_functionals import maximum, payoff, time_in_range
from tsode.control.plan_result import Plan
from tsode.control.planner import plan, replan
from tsode.control.target_range import TargetRange
from tsode.control.tracking import Tracking

__all__ = [
    "BackwardSolution",
    "ChanceLimit",
    "Doses",
    "ExpectedCost",
    "ForwardSDE",
    "Input",
    "Plan",
    "TargetRange",
    "Tracking",
    "backward_sde",
    "fitted_forward",
    "forecast_functional",
    "maximum",
    "payoff",
    "plan",
    "replan",
    "time_in_range",
]

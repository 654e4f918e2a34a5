"""Control of forecast systems: plans of doses and inputs, objectives and limits."""

from tsode.control.actions import Doses, Input
from tsode.control.chance_limit import ChanceLimit
from tsode.control.expected_cost import ExpectedCost
from tsode.control.plan_result import Plan
from tsode.control.planner import plan, replan
from tsode.control.target_range import TargetRange
from tsode.control.tracking import Tracking

__all__ = ["ChanceLimit", "Doses", "ExpectedCost", "Input", "Plan", "TargetRange", "Tracking", "plan", "replan"]

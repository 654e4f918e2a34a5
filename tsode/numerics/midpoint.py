"""Midpoint rule."""

from __future__ import annotations

from dataclasses import dataclass

from tsode.numerics.fixed_step import FixedRungeKutta
from tsode.numerics.runge_kutta import Tableau

__all__ = ["Midpoint"]


@dataclass(frozen=True)
class Midpoint(FixedRungeKutta):
    """Explicit midpoint rule: order 2, two evaluations a step, a parabola inside the step."""

    order = 2
    tableau = Tableau(c=(0.0, 0.5), a=((0.5,),), b=(0.0, 1.0), dense=((1.0, 0.0), (-1.0, 1.0)))

"""Euler's method."""

from __future__ import annotations

from dataclasses import dataclass

from tsode.numerics.fixed_step import FixedRungeKutta
from tsode.numerics.runge_kutta import Tableau

__all__ = ["Euler"]


@dataclass(frozen=True)
class Euler(FixedRungeKutta):
    """Euler's method: order 1, one evaluation a step, a straight line inside the step."""

    order = 1
    tableau = Tableau(c=(0.0,), a=(), b=(1.0,), dense=((1.0,),))

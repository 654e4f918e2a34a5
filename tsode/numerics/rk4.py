"""Runge-Kutta method of order four."""

from __future__ import annotations

from dataclasses import dataclass

from tsode.numerics.fixed_step import FixedRungeKutta
from tsode.numerics.runge_kutta import Tableau

__all__ = ["RK4"]


@dataclass(frozen=True)
class RK4(FixedRungeKutta):
    """Classical Runge-Kutta method: order 4, four evaluations a step, a cubic of order 3 inside the step.

    References
    ----------
    Hairer, Norsett, Wanner, *Solving Ordinary Differential Equations I*, 2nd ed., table II.1.2 and eq. II.6.21.
    """

    order = 4
    tableau = Tableau(
        c=(0.0, 0.5, 0.5, 1.0),
        a=((0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)),
        b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
        dense=((1.0, 0.0, 0.0, 0.0), (-3 / 2, 1.0, 1.0, -1 / 2), (2 / 3, -2 / 3, -2 / 3, 2 / 3)),
    )

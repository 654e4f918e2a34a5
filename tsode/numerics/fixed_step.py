"""Solvers with a fixed number or length of steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor

from tsode.numerics.base import VectorField
from tsode.numerics.fixed_grid import FixedSteps
from tsode.numerics.runge_kutta import Tableau, runge_kutta_inside, runge_kutta_step
from tsode.numerics.stepwise import Step, StepRecord, StepwiseSolver, StopRule

__all__ = ["RK4", "Euler", "FixedStep", "Midpoint"]


@dataclass(frozen=True)
class FixedStep(FixedSteps, StepwiseSolver):
    """Family of solvers whose steps do not depend on the state; the settings are those of `FixedSteps`."""

    def march(
        self, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, gradient: str, query_step: float | None = None,
        watch: StopRule | None = None,
    ) -> StepRecord:  # fmt: skip
        grid = self.grid(t1 - t0, query_step)
        is_recorded = query_step is not None or watch is not None
        return self.take_steps(partial(self.step, field), z, t0, grid, gradient, is_recorded, watch)


@dataclass(frozen=True)
class _FixedRungeKutta(FixedStep):
    """A fixed step given by its tableau."""

    tableau: ClassVar[Tableau]

    def step(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor) -> Step:
        return runge_kutta_step(self.tableau, field, t, dt, z)

    def interpolate(self, z: Tensor, parts: Sequence[Tensor], dt: Tensor, theta: Tensor) -> Tensor:
        return runge_kutta_inside(self.tableau, z, parts, dt, theta)


@dataclass(frozen=True)
class Euler(_FixedRungeKutta):
    """Euler's method: order 1, one evaluation a step, a straight line inside the step."""

    tableau = Tableau(c=(0.0,), a=(), b=(1.0,), inside=((1.0,),))


@dataclass(frozen=True)
class Midpoint(_FixedRungeKutta):
    """Explicit midpoint rule: order 2, two evaluations a step, a parabola inside the step."""

    tableau = Tableau(c=(0.0, 0.5), a=((0.5,),), b=(0.0, 1.0), inside=((1.0, 0.0), (-1.0, 1.0)))


@dataclass(frozen=True)
class RK4(_FixedRungeKutta):
    """Classical Runge-Kutta method: order 4, four evaluations a step, a cubic of order 3 inside the step.

    References
    ----------
    Hairer, Norsett, Wanner, *Solving Ordinary Differential Equations I*, 2nd ed., table II.1.2 and eq. II.6.21.
    """

    tableau = Tableau(
        c=(0.0, 0.5, 0.5, 1.0),
        a=((0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)),
        b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
        inside=((1.0, 0.0, 0.0, 0.0), (-3 / 2, 1.0, 1.0, -1 / 2), (2 / 3, -2 / 3, -2 / 3, 2 / 3)),
    )

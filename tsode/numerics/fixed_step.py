"""Solvers with a fixed number or length of steps: the base classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor

from tsode.numerics.base import VectorField
from tsode.numerics.fixed_grid import FixedSteps
from tsode.numerics.runge_kutta import Tableau, runge_kutta_dense, runge_kutta_step
from tsode.numerics.stepwise import Step, StepRecord, StepwiseSolver, StopRule, Taping

__all__ = ["FixedRungeKutta", "FixedStep"]


@dataclass(frozen=True)
class FixedStep(FixedSteps, StepwiseSolver):
    """Family of solvers whose steps do not depend on the state; the settings are those of `FixedSteps`."""

    def advance(
        self, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, gradient: object, query_step: float | None = None,
        stop_rule: StopRule | None = None, first_length: Tensor | None = None,
    ) -> StepRecord:  # fmt: skip
        grid = self.grid(t1 - t0, query_step)
        is_recorded = (query_step is not None or stop_rule is not None) and not isinstance(gradient, Taping)
        return self.take_steps(partial(self.step, field), z, t0, grid, gradient, is_recorded, stop_rule)


@dataclass(frozen=True)
class FixedRungeKutta(FixedStep):
    """Family of solvers whose fixed step is given by its tableau."""

    tableau: ClassVar[Tableau]

    def step(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor) -> Step:
        return runge_kutta_step(self.tableau, field, t, dt, z)

    def interpolate(self, z: Tensor, stages: Sequence[Tensor], dt: Tensor, theta: Tensor) -> Tensor:
        return runge_kutta_dense(self.tableau, z, stages, dt, theta)

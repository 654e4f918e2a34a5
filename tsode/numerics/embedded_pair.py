"""Explicit Runge-Kutta methods with an embedded one, which choose their steps for every row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from tsode.numerics.adaptive import AdaptiveSolver
from tsode.numerics.base import VectorField
from tsode.numerics.runge_kutta import Tableau, combine, polynomial, runge_kutta_dense, runge_kutta_step
from tsode.numerics.stepwise import Step

__all__ = ["EmbeddedPair"]

_UNSTABLE = 1.2  # length of a step times the steepest slope: stable up to 3.3, and accuracy asks for less


class EmbeddedPair(AdaptiveSolver):
    """Family of explicit methods whose last two stages stand at the end of the step, the last one at its state.

    They are asked for what is near enough: a field that is affine in the state is solved exactly in their place, see
    `tsode.numerics.staged_field.easier`.

    Attributes
    ----------
    tableau : Tableau
        Of the method that the step is taken with.
    error_weights : tuple of float
        Its weights minus those of the embedded method.
    """

    tableau: ClassVar[Tableau]
    error_weights: ClassVar[tuple[float, ...]]

    def attempt(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor, slope: Tensor | None = None) -> Step:
        return runge_kutta_step(self.tableau, field, t, dt, z, slope)

    def error(self, dt: Tensor, stages: Sequence[Tensor]) -> Tensor:
        return combine(self.error_weights, stages) * dt.to(stages[0].dtype)[:, None]

    def next_slope(self, step: Step) -> Tensor:
        return step.stages[-1]

    def is_stiff(self, dt: Tensor, step: Step) -> Tensor:
        return self.speed(step, torch.ones_like(step.z)) > _UNSTABLE

    @torch.no_grad()
    def speed(self, step: Step, scale: Tensor) -> Tensor:
        """How far the fastest change goes within the step, (b,): its length times the steepest slope.

        From the stage before the last to the last, both at the end, the field changes by its slopes alone (Hairer and
        Wanner, "Solving Ordinary Differential Equations II", section IV.2). What counts is measured in `scale` (b d).
        """
        last_move = [b - a for b, a in zip(self.tableau.b, (*self.tableau.a[-2], 0.0, 0.0))]
        change, move = step.stages[-1] - step.stages[-2], combine(last_move, step.stages)
        change, move = (torch.linalg.vector_norm(x / scale, dim=1) for x in (change, move))
        return torch.where(move > 0, change / move, 0.0)

    def coefficients(self, dt: Tensor, step: Step) -> list[Tensor]:
        """The path inside the step as a polynomial of the share that has passed, see `tsode.numerics.switching`."""
        return polynomial(self.tableau, step.stages, dt.to(step.z.dtype)[:, None])

    def interpolate(self, z: Tensor, stages: Sequence[Tensor], dt: Tensor, theta: Tensor) -> Tensor:
        return runge_kutta_dense(self.tableau, z, stages, dt, theta)

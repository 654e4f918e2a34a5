"""Rosenbrock methods for stiff fields, given by their coefficients, with a step length of its own for every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from tsode.numerics.adaptive import AdaptiveSolver
from tsode.numerics.base import VectorField, is_finite_row
from tsode.numerics.given_jacobian import GivenJacobian, check_jacobian, linearise_by
from tsode.numerics.row_jacobian import linearise
from tsode.numerics.runge_kutta import combine
from tsode.numerics.stepwise import Step, StepRecord

__all__ = ["Rosenbrock", "RosenbrockStep", "RosenbrockTable"]


@dataclass(frozen=True)
class RosenbrockTable:
    """Coefficients of a Rosenbrock method, in the letters of the code RODAS: stages without products by the Jacobian.

    Stage i solves ``(I / (gamma h) - J) k_i = f(t + c_i h, z + sum_j a_ij k_j) + sum_j C_ij k_j / h + d_i h f_t``.

    Parameters
    ----------
    gamma : float
    nodes, by_time : tuple of float
        c_i and d_i.
    a, c : tuple of tuple of float
        Weights a_ij and C_ij of the stages before; a stage with the weights of the one before it has its slope too.
    end, error : tuple of float
        Weights of the stages in the step, and in the estimate of its error.
    bends : tuple of tuple of float
        Dense output: after the share s the state is ``z + s (e + (1 - s) (p + s q + ...))``, with ``e`` by `end`.
    """

    gamma: float
    nodes: tuple[float, ...]
    by_time: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    c: tuple[tuple[float, ...], ...]
    end: tuple[float, ...]
    error: tuple[float, ...]
    bends: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class RosenbrockStep(Step):
    """A step, and the field's derivatives by the state at its begin (b d d); 0 where they are not finite."""

    jacobian: Tensor


@dataclass(frozen=True)
class Rosenbrock(AdaptiveSolver):
    """Family of linearly implicit methods: they ask the field for its derivatives, and iterate nothing.

    Parameters
    ----------
    rtol, atol, max_steps, first_step, max_step
        As in `AdaptiveSolver`.
    jacobian : callable, optional
        ``(t, z) -> (b d d)``, the field's derivatives by the state, row by row: entry (i, j) is that of slope i by
        state j. Where the field also reads the time, and PyTorch cannot differentiate it, with its derivative by the
        time, as a pair ``((b d d), (b d))``. By default both come by automatic differentiation. It is compared with
        this at the start of a solve, if the method needs it exact, and gradients go through it as it lets them.

    Attributes
    ----------
    table : RosenbrockTable
    needs_exact_jacobian : bool
        Whether the order of the method holds only with the field's own derivatives.
    """

    table: ClassVar[RosenbrockTable]
    needs_exact_jacobian: ClassVar[bool] = True
    gradients = ("backprop", "checkpoint", "binomial", "adjoint")  # its steps take derivatives of the field themselves

    jacobian: GivenJacobian | None = None

    def advance(self, field: VectorField, z: Tensor, t0: Tensor, *args: Any, **kwargs: Any) -> StepRecord:
        if self.jacobian is not None:
            check_jacobian(self.jacobian, field, t0, z, self.needs_exact_jacobian)
        return super().advance(field, z, t0, *args, **kwargs)

    def attempt(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor, slope: Tensor | None = None) -> Step:
        table, length = self.table, dt.to(z.dtype)[:, None]
        value, jacobian, by_time = self._linearise(field, t, z)
        is_finite = is_finite_row(torch.cat([jacobian.flatten(1), by_time, value], dim=1))
        jacobian = torch.where(is_finite[:, None, None], jacobian, 0.0)
        by_time = torch.where(is_finite[:, None], by_time, 0.0)
        system = torch.eye(z.shape[1], dtype=z.dtype, device=z.device) - table.gamma * length[..., None] * jacobian
        factors, pivots, _ = torch.linalg.lu_factor_ex(system)  # a singular one gives a step that is not finite
        stages: list[Tensor] = []
        is_guarded, slope_by_time = torch.is_grad_enabled(), length * by_time
        before: tuple[float, ...] = ()
        for node, to_time, a, c in zip(table.nodes, table.by_time, table.a, table.c):
            if a != before:
                stage = z + combine(a, stages)
                if is_guarded:  # see `runge_kutta_step`
                    is_finite = is_finite & is_finite_row(stage)
                    stage = torch.where(is_finite[:, None], stage, z)
                value = field(torch.add(t, dt, alpha=node), stage if is_guarded else stage.nan_to_num_())
            before = (*a, 0.0)
            right = torch.add(value, slope_by_time, alpha=to_time) if to_time else value
            right = torch.addcmul(combine(c, stages), length, right) if stages else length * right
            stages.append(torch.linalg.lu_solve(factors, pivots, (table.gamma * right)[..., None])[..., 0])
        end = z + combine(table.end, stages)
        if not is_guarded:
            is_finite = is_finite & is_finite_row(torch.cat(stages, dim=1))
        return RosenbrockStep(end, stages, is_finite & is_finite_row(end), jacobian)

    def _linearise(self, field: VectorField, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return linearise(field, t, z) if self.jacobian is None else linearise_by(self.jacobian, field, t, z)

    def error(self, dt: Tensor, stages: Sequence[Tensor]) -> Tensor:
        return combine(self.table.error, stages)

    def coefficients(self, dt: Tensor, step: Step) -> list[Tensor]:
        """The path inside the step as a polynomial of the share that has passed, see `tsode.numerics.switching`."""
        end, *bends = (combine(weights, step.stages) for weights in (self.table.end, *self.table.bends))
        return [end + bends[0], *(later - bend for bend, later in pairwise(bends)), -bends[-1]]

    def interpolate(self, z: Tensor, stages: Sequence[Tensor], dt: Tensor, theta: Tensor) -> Tensor:
        inside = torch.zeros_like(z)
        for weights in reversed(self.table.bends):
            inside = combine(weights, stages) + theta * inside
        return z + theta * (combine(self.table.end, stages) + (1.0 - theta) * inside)

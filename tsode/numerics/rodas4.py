"""Rosenbrock method of order four for stiff fields, with a step length of its own for every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.numerics.adaptive import AdaptiveSolver
from tsode.numerics.base import VectorField, is_finite_row
from tsode.numerics.row_jacobian import linearise
from tsode.numerics.runge_kutta import combine
from tsode.numerics.stepwise import Step

__all__ = ["Rodas4", "RosenbrockStep"]

# In the letters of the code RODAS, whose stages spare products by the Jacobian.
_GAMMA = 0.25
_NODES = (0.0, 0.386, 0.21, 0.63, 1.0, 1.0)
_BY_TIME = (0.25, -0.1043, 0.1035, -0.0362, 0.0, 0.0)
_LAST = (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950)
_A: tuple[tuple[float, ...], ...] = (
    (),
    (1.544,),
    (0.9466785280815826, 0.2557011698983284),
    (3.314825187068521, 2.896124015972201, 0.9986419139977817),
    _LAST,
    (*_LAST, 1.0),
)
_C: tuple[tuple[float, ...], ...] = (
    (),
    (-5.6688,),
    (-2.430093356833875, -0.2063599157091915),
    (-0.1073529058151375, -9.594562251023355, -20.47028614809616),
    (7.496443313967647, -10.24680431464352, -33.99990352819905, 11.70890893206160),
    (8.083246795921522, -7.981132988064893, -31.52159432874371, 16.31930543123136, -6.058818238834054),
)
_END = (*_LAST, 1.0, 1.0)
_BEND = (10.12623508344586, -7.487995877610167, -34.80091861555747, -7.992771707568823, 1.025137723295662)
_TWIST = (-0.6762803392801253, 6.087714651680015, 16.43084320892478, 24.76722511418386, -6.594389125716872)


@dataclass(frozen=True)
class RosenbrockStep(Step):
    """A step, and the field's derivatives by the state at its begin (b d d); 0 where they are not finite."""

    jacobian: Tensor


@dataclass(frozen=True)
class Rodas4(AdaptiveSolver):
    """Hairer and Wanner's Rosenbrock method RODAS of order 4(3): L-stable, stiffly accurate, adaptive row by row.

    For stiff fields, whose fastest changes have long faded: an explicit method has to follow them for ever. A step asks
    the field for its derivatives by state and time, in forward mode, and solves linear systems (d d) of each row;
    for a field that is not stiff it takes more steps than `Dopri5`, and these cost several times as much. Nothing is
    iterated, so nothing can fail to converge.

    Parameters
    ----------
    rtol, atol, max_steps, first_step, max_step
        As in `AdaptiveSolver`.

    References
    ----------
    Hairer and Wanner, "Solving Ordinary Differential Equations II", 2nd edition, 1996, section IV.7 and the code RODAS.
    """

    order = 4
    error_order = 3
    gradients = ("backprop", "checkpoint", "binomial", "adjoint")  # its steps take derivatives of the field themselves

    def attempt(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor, slope: Tensor | None = None) -> Step:
        length = dt.to(z.dtype)[:, None]
        value, jacobian, by_time = linearise(field, t, z)
        is_finite = is_finite_row(torch.cat([jacobian.flatten(1), by_time, value], dim=1))
        jacobian = torch.where(is_finite[:, None, None], jacobian, 0.0)
        by_time = torch.where(is_finite[:, None], by_time, 0.0)
        system = torch.eye(z.shape[1], dtype=z.dtype, device=z.device) - _GAMMA * length[..., None] * jacobian
        factors, pivots, _ = torch.linalg.lu_factor_ex(system)
        stages: list[Tensor] = []
        is_guarded, slope_by_time = torch.is_grad_enabled(), length * by_time
        for node, to_time, a, c in zip(_NODES, _BY_TIME, _A, _C):
            if stages:
                stage = z + combine(a, stages)
                if is_guarded:  # see `runge_kutta_step`
                    is_finite = is_finite & is_finite_row(stage)
                    stage = torch.where(is_finite[:, None], stage, z)
                value = field(torch.add(t, dt, alpha=node), stage if is_guarded else stage.nan_to_num_())
            right = torch.add(value, slope_by_time, alpha=to_time) if to_time else value
            right = torch.addcmul(combine(c, stages), length, right) if stages else length * right
            stages.append(torch.linalg.lu_solve(factors, pivots, (_GAMMA * right)[..., None])[..., 0])
        end = z + combine(_END, stages)
        if not is_guarded:
            is_finite = is_finite & is_finite_row(torch.cat(stages, dim=1))
        return RosenbrockStep(end, stages, is_finite & is_finite_row(end), jacobian)

    def error(self, dt: Tensor, stages: Sequence[Tensor]) -> Tensor:
        return stages[-1]

    def coefficients(self, dt: Tensor, step: Step) -> list[Tensor]:
        """The path inside the step as a polynomial of the share that has passed, see `tsode.numerics.switching`."""
        end, bend, twist = (combine(weights, step.stages) for weights in (_END, _BEND, _TWIST))
        return [end + bend, twist - bend, -twist]

    def interpolate(self, z: Tensor, stages: Sequence[Tensor], dt: Tensor, theta: Tensor) -> Tensor:
        left = 1.0 - theta
        inside = combine(_BEND, stages) + theta * combine(_TWIST, stages)
        return z + theta * (combine(_END, stages) + left * inside)

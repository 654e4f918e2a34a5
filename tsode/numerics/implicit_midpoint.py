"""Implicit midpoint rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tsode.core.status import Status
from tsode.numerics.base import VectorField, is_finite_row
from tsode.numerics.fixed_step import FixedStep
from tsode.numerics.hermite import hermite
from tsode.numerics.row_jacobian import linearise
from tsode.numerics.stepwise import Step

__all__ = ["ImplicitMidpoint"]

_MAX_ROUNDS = 20
# Two more solves with the last Jacobian take a root this good to rounding, and give two derivatives of it.
_TOLERANCE = 2.0 / 3.0  # power of the resolution, in the size of the state


@dataclass(frozen=True)
class ImplicitMidpoint(FixedStep):
    """Implicit midpoint rule: symplectic for any energy, reversible, order 2, a cubic inside the step.

    For Hamiltonian fields that are not separable, on which `Leapfrog` cannot go: the energy error does not grow with
    time, and quadratic invariants (norms, angular momenta) are kept to rounding. The middle of each step, where the
    slope is that of its own place, is found by Newton's method, row by row; some three Jacobians a step, so dear where
    states are many. No decay makes it unstable, but fast ones fade slowly: `Rodas4` is better for them. A row whose
    middle is not found ends with `Status.UNSOLVED`. Second derivatives are right, third ones are not.

    References
    ----------
    Hairer, Lubich, Wanner, *Geometric Numerical Integration*, 2nd ed., eq. II.1.8; symplectic: theorem VI.4.3;
    quadratic invariants: theorem IV.2.1.
    """

    order = 2
    # not "forward": Newton's Jacobian is had by autograd, which cannot be entered there
    gradients: ClassVar[tuple[str, ...]] = ("backprop", "checkpoint", "binomial", "adjoint", "reversible")

    def step(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor) -> Step:
        half, time = 0.5 * dt.to(z.dtype)[:, None], t + 0.5 * dt
        slope = field(t, z)
        middle, inverse, is_found = self._middle(field, time, half.detach(), z.detach(), slope.detach())
        for _ in range(2):
            excess = middle - z - half * field(time, middle)
            middle = middle - (inverse @ excess[..., None])[..., 0]
        end = 2.0 * middle - z
        is_finite = is_found & is_finite_row(slope) & is_finite_row(end)
        end_slope = field(t + dt, torch.where(is_finite[:, None], end, z))
        is_sought = is_finite_row(z + half * slope)
        reason = torch.where(is_sought & ~is_found, int(Status.UNSOLVED), int(Status.NON_FINITE))
        return Step(end, (end, slope, end_slope), is_finite & is_finite_row(end_slope), reason=reason)

    def inverse_step(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor) -> Tensor:
        """State at ``t`` (b,) from which `step` comes to ``z`` (b d): it is its own inverse."""
        return self.step(field, t + dt, -dt, z).z

    def interpolate(self, z: Tensor, stages: Sequence[Tensor], dt: Tensor, theta: Tensor) -> Tensor:
        return hermite(z, stages, dt, theta)

    @staticmethod
    @torch.no_grad()
    def _middle(field: VectorField, t: Tensor, half: Tensor, z: Tensor, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Root of ``x - z - half * field(t, x)`` (b d), inverse Jacobian there (b d d), and whether it was found.

        Of a row that has none it is `z`, where the field is known.
        """
        eye = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
        inverse = eye.expand(len(z), -1, -1)
        guess = z + half * slope
        is_good = is_finite_row(guess)
        x = torch.where(is_good[:, None], guess, z)
        is_open, is_found = is_good, torch.zeros_like(is_good)
        tolerance = torch.finfo(z.dtype).eps ** _TOLERANCE
        for _ in range(_MAX_ROUNDS):
            value, jacobian, _ = (part.detach() for part in linearise(field, t, x))
            factors, pivots, info = torch.linalg.lu_factor_ex(eye - half[..., None] * jacobian)
            solved = torch.linalg.lu_solve(factors, pivots, eye.expand_as(factors))
            move = -(solved @ (x - z - half * value)[..., None])[..., 0]
            is_usable = is_open & (info == 0) & is_finite_row(move) & is_finite_row(solved.flatten(1))
            x = torch.where(is_usable[:, None], x + move, x)
            inverse = torch.where(is_usable[:, None, None], solved, inverse)
            size = torch.maximum(x.abs().amax(dim=1), (x - z).abs().amax(dim=1))
            is_near = is_usable & (move.abs().amax(dim=1) <= tolerance * size)
            is_found, is_open = is_found | is_near, is_usable & ~is_near
            if not is_open.any():  # the loop test
                break
        found = is_found[:, None]
        return torch.where(found, x, z).detach(), torch.where(found[..., None], inverse, eye).detach(), is_found

"""Exponential Euler method, for fields that relax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from tsode.numerics.base import VectorField, is_finite_row
from tsode.numerics.fixed_step import FixedStep
from tsode.numerics.stepwise import Step

__all__ = ["ExponentialEuler", "RelaxingField"]


@runtime_checkable
class RelaxingField(Protocol):
    """A vector field of the form ``rate(t, z) * (target(t, z) - z)``."""

    def __call__(self, t: Tensor, z: Tensor) -> Tensor: ...

    def relaxation(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Rate and target: ``t`` (b,), ``z`` (b d) -> (b d), (b d)."""
        ...


@dataclass(frozen=True)
class ExponentialEuler(FixedStep):
    """Exponential Euler method: order 1, exact for a constant rate and target, stable at any step length.

    The rate and target are held at their values at the start of the step; the linear equation that is left has the
    solution ``target + (z - target) * exp(-rate * dt)``. Needs a field with a `relaxation`, such as the GRU-ODE.

    References
    ----------
    Hochbruck and Ostermann, "Exponential integrators", Acta Numerica 19, 2010, eq. 1.6.
    """

    order = 1
    field_type = RelaxingField

    def step(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor) -> Step:
        stages = cast(RelaxingField, field).relaxation(t, z)
        end = self.interpolate(z, stages, dt.to(z.dtype)[:, None], z.new_ones(()))
        # A step of infinite length would land on the target.
        return Step(end, stages, is_finite_row(end) & dt.isfinite())

    def interpolate(self, z: Tensor, stages: Sequence[Tensor], dt: Tensor, theta: Tensor) -> Tensor:
        rate, target = stages
        return z - (target - z) * torch.expm1(-rate * (theta * dt))

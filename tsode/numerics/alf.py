"""Asynchronous leapfrog method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tsode.numerics.base import VectorField, is_finite_row
from tsode.numerics.paired import PairedStep, PairStep

__all__ = ["ALF"]


@dataclass(frozen=True)
class ALF(PairedStep):
    """Asynchronous leapfrog method: reversible, one evaluation a step, a parabola inside the step.

    Carries a velocity beside the state: half a step along it, the velocity turned by what the field says there, half a
    step along the new one. Stable for oscillations alone, of an angular frequency up to ``1 / step``: what decays to
    ``exp(-a)`` comes with an error that has grown by ``exp(a)``. `DampedALF` takes slow decays.

    References
    ----------
    Mutze, "An asynchronous leapfrog method II", arXiv:1311.6602, 2013; Zhuang et al., "MALI: a memory efficient and
    reverse accurate integrator for neural ODEs", ICLR 2021, algorithms 2 and 3.
    """

    order = 2
    n_parts = 2
    eta: ClassVar[float] = 1.0
    """How far the velocity is turned, beside the whole way to its mirror image in what the field says."""

    def copy_of(self, field: VectorField, t: Tensor, z: Tensor) -> Tensor:
        return field(t, z)

    def pair_step(self, field: VectorField, t: Tensor, dt: Tensor, pair: Tensor) -> PairStep:
        z, v = pair.chunk(2, dim=1)
        length = dt.to(z.dtype)[:, None]
        middle = z + 0.5 * length * v
        is_finite = is_finite_row(middle)
        u = field(t + 0.5 * dt, torch.where(is_finite[:, None], middle, z))
        turn = self.eta * (u - v)
        move = length * (v + turn)
        end = torch.cat([z + move, v + 2.0 * turn], dim=1)
        apart, moved = (torch.linalg.vector_norm(x, dim=1) for x in (length * (u - v), move))
        return PairStep(end, (v, turn), is_finite & is_finite_row(end), apart, moved)

    def inverse_step(self, field: VectorField, t: Tensor, dt: Tensor, pair: Tensor) -> Tensor:
        z, v = pair.chunk(2, dim=1)
        half = 0.5 * dt.to(z.dtype)[:, None]
        middle = z - half * v
        u = field(t + 0.5 * dt, middle)
        v = (v - 2.0 * self.eta * u) / (1.0 - 2.0 * self.eta)
        return torch.cat([middle - half * v, v], dim=1)

    def interpolate(self, z: Tensor, stages: Sequence[Tensor], dt: Tensor, theta: Tensor) -> Tensor:
        v, turn = stages
        return z + theta * dt * (v + theta * turn)

"""Reversible Heun method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.numerics.base import VectorField, is_finite_row
from tsode.numerics.paired import PairedStep, PairStep

__all__ = ["ReversibleHeun"]


@dataclass(frozen=True)
class ReversibleHeun(PairedStep):
    """Reversible Heun method: reversible, order 2, one evaluation a step, a parabola inside the step.

    Carries a second state, which leaps over the first along its own slope; the first goes along the mean of the slopes
    that the second has at both ends. Stable for oscillations alone, of an angular frequency up to ``1 / step``: what
    decays to ``exp(-a)`` comes with an error that has grown by ``exp(a)``.

    References
    ----------
    Kidger, Foster, Li, Lyons, "Efficient and accurate gradients for neural SDEs", NeurIPS 2021, algorithms 1 and 2;
    its stability: theorem D.19.
    """

    order = 2
    n_parts = 3

    def copy_of(self, field: VectorField, t: Tensor, z: Tensor) -> Tensor:
        return torch.cat([z, field(t, z)], dim=1)  # the slope too: it is that of the next step's start

    def pair_step(self, field: VectorField, t: Tensor, dt: Tensor, pair: Tensor) -> PairStep:
        z, other, slope = pair.chunk(3, dim=1)
        length = dt.to(z.dtype)[:, None]
        other = 2.0 * z - other + length * slope
        is_finite = is_finite_row(other)
        end_slope = field(t + dt, torch.where(is_finite[:, None], other, z))
        bend = 0.5 * (end_slope - slope)
        move = length * (slope + bend)
        end = torch.cat([z + move, other, end_slope], dim=1)
        apart, moved = (torch.linalg.vector_norm(x, dim=1) for x in (z + move - other, move))
        return PairStep(end, (slope, bend), is_finite & is_finite_row(end), apart, moved)

    def inverse_step(self, field: VectorField, t: Tensor, dt: Tensor, pair: Tensor) -> Tensor:
        z, other, end_slope = pair.chunk(3, dim=1)
        length = dt.to(z.dtype)[:, None]
        other = 2.0 * z - other - length * end_slope
        slope = field(t, other)
        return torch.cat([z - 0.5 * length * (slope + end_slope), other, slope], dim=1)

    def interpolate(self, z: Tensor, stages: Sequence[Tensor], dt: Tensor, theta: Tensor) -> Tensor:
        slope, bend = stages
        return z + theta * dt * (slope + theta * bend)

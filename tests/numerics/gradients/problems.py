"""Problems with known derivatives, and solvers, for tests of the ways to a gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.numerics import RK4, Dopri5
from tsode.numerics.base import VectorField
from tsode.numerics.fixed_step import FixedStep
from tsode.numerics.gradients import Adjoint, Backprop, Binomial, Checkpoint, Forward
from tsode.numerics.stepwise import Step

SAME = [Checkpoint(), Checkpoint(every=3), Binomial(), Binomial(snapshots=3), Forward()]
ALL = [Backprop(), *SAME, Adjoint()]
MATRIX = [[-0.3, 1.2, 0.0], [-1.0, -0.1, 0.4], [0.2, 0.0, -0.7]]
FINE = Dopri5(rtol=1e-10, atol=1e-12, max_steps=10_000)
STEPS = RK4(max_step=0.11)


def tensor(values: object, requires_grad: bool = False) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=requires_grad)


@dataclass(frozen=True)
class Leapfrog(FixedStep):
    """Kick, drift and kick of pairs (q, p): taken back by the step of negative length."""

    order = 2
    gradients = (*FixedStep.gradients, "reversible")

    def step(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor) -> Step:
        half, (q, p) = 0.5 * dt[:, None], z.chunk(2, dim=1)
        p = p + half * field(t, torch.cat([q, p], dim=1)).chunk(2, dim=1)[1]
        q = q + 2 * half * field(t + 0.5 * dt, torch.cat([q, p], dim=1)).chunk(2, dim=1)[0]
        end = torch.cat([q, p + half * field(t + dt, torch.cat([q, p], dim=1)).chunk(2, dim=1)[1]], dim=1)
        return Step(end, [end], end.isfinite().all(dim=1))

    def inverse_step(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor) -> Tensor:
        return self.step(field, t + dt, -dt, z).z

    def interpolate(self, z: Tensor, stages: list[Tensor], dt: Tensor, theta: Tensor) -> Tensor:
        return z + theta * (stages[0] - z)


def lotka_volterra(rates: Tensor) -> VectorField:
    a, b, c, d = rates

    def field(t: Tensor, z: Tensor) -> Tensor:
        u, v = z.unbind(dim=1)
        return torch.stack([a * u - b * u * v, d * u * v - c * v], dim=1)

    return field

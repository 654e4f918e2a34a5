"""Euler-Maruyama method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tsode.numerics.sde import DiagonalSDE
from tsode.numerics.sde_steps import SDEStep, ito_drift

__all__ = ["EulerMaruyama"]


@dataclass(frozen=True)
class EulerMaruyama(SDEStep):
    """Euler-Maruyama method: ``z + f dt + g dW``.

    Strong order 1/2, weak order 1; where the diffusion does not depend on the state, strong order 1. A Stratonovich
    equation is put in the sense of Ito first.

    References
    ----------
    Kloeden and Platen, *Numerical Solution of Stochastic Differential Equations*, section 10.2.
    """

    strong_order = 0.5

    def stages(self, sde: DiagonalSDE, t: Tensor, z: Tensor) -> Sequence[Tensor]:
        f, g = sde.terms(t, z)
        return ito_drift(sde, t, z, f, g), g

    def move(self, z: Tensor, stages: Sequence[Tensor], dt: Tensor, dw: Tensor) -> Tensor:
        f, g = stages
        return z + f * dt + g * dw

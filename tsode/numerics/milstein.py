"""Milstein method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tsode.numerics.sde import DiagonalSDE
from tsode.numerics.sde_steps import SDEStep

__all__ = ["Milstein"]


@dataclass(frozen=True)
class Milstein(SDEStep):
    """Milstein method for diagonal noise: ``z + f dt + g dW + g g' (dW**2 - dt) / 2``.

    Strong and weak order 1. For a Stratonovich equation the ``- dt`` is left out, which is the same as putting the
    equation in the sense of Ito first.

    References
    ----------
    Kloeden and Platen, *Numerical Solution of Stochastic Differential Equations*, section 10.3, eq. 3.5 and 3.17.
    """

    strong_order = 1.0

    def stages(self, sde: DiagonalSDE, t: Tensor, z: Tensor) -> Sequence[Tensor]:
        f, g = sde.terms(t, z)
        second = 0.5 * g * sde.diffusion_slope(t, z)
        return (f - second if sde.calculus == "ito" else f), g, second

    def move(self, z: Tensor, stages: Sequence[Tensor], dt: Tensor, dw: Tensor) -> Tensor:
        f, g, second = stages
        return z + f * dt + g * dw + second * dw**2

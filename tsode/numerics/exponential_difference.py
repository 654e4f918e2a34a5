"""Exponential time differencing for fields with a linear part that turns and decays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

from torch import Tensor

from tsode.core.integrated_exponential import integrated_exponential
from tsode.numerics.base import VectorField, is_finite_row
from tsode.numerics.fixed_step import FixedStep
from tsode.numerics.stepwise import Step

__all__ = ["ExponentialDifference", "SemilinearField"]


@runtime_checkable
class SemilinearField(Protocol):
    """A vector field of the form ``-decay * z + frequency * turn(z) + remainder(t, z)``.

    ``turn`` is a quarter turn of the coordinates that come in pairs (multiplication of complex modes by ``i``), and 0
    in those that stand alone, where ``frequency`` is 0 too.
    """

    def __call__(self, t: Tensor, z: Tensor) -> Tensor: ...

    def linearised(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Decay, frequency and the whole drift: ``t`` (b,), ``z`` (b d) -> three times (b d)."""
        ...

    def turn(self, z: Tensor) -> Tensor:
        """Quarter turn: (b d) -> (b d)."""
        ...


@dataclass(frozen=True)
class ExponentialDifference(FixedStep):
    """Exponential time differencing (ETD1): order 1, exact in the linear part and for a constant remainder.

    Rates and remainder are held at their values at the start of the step. With ``lambda = -decay + i frequency`` the
    equation that is left has the solution ``z + (exp(lambda dt) - 1) / lambda * drift``, the formula of the reference
    with its two terms in ``z`` put together. The length of a step is limited by the remainder alone. Needs a field with
    a `linearised`, such as the semilinear one.

    References
    ----------
    Cox and Matthews, "Exponential time differencing for stiff systems", Journal of Computational Physics 176, 2002,
    eq. 4.
    """

    order = 1
    field_type = SemilinearField

    def step(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor) -> Step:
        semilinear = cast(SemilinearField, field)
        decay, frequency, drift = semilinear.linearised(t, z)
        stages = (decay, frequency, drift, semilinear.turn(drift))
        end = self.interpolate(z, stages, dt.to(z.dtype)[:, None], z.new_ones(()))
        return Step(end, stages, is_finite_row(end))

    def interpolate(self, z: Tensor, stages: Sequence[Tensor], dt: Tensor, theta: Tensor) -> Tensor:
        decay, frequency, drift, turned = stages
        real, imaginary = integrated_exponential(decay, frequency, theta * dt)
        return z + real * drift + imaginary * turned

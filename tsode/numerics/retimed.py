"""Vector field that is asked at other times, of the kind that it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from tsode.numerics.base import VectorField
from tsode.numerics.symplectic import SeparableField

__all__ = ["retimed"]


def retimed(field: VectorField, clock: Callable[[Tensor], Tensor]) -> VectorField:
    """The field at the times ``clock(t)``; what is separable is so still."""
    return _RetimedSeparable(field, clock) if isinstance(field, SeparableField) else _Retimed(field, clock)


@dataclass(frozen=True, eq=False)
class _Retimed:
    field: VectorField
    clock: Callable[[Tensor], Tensor]

    def __call__(self, t: Tensor, z: Tensor) -> Tensor:
        return self.field(self.clock(t), z)


@dataclass(frozen=True, eq=False)
class _RetimedSeparable(_Retimed):
    field: SeparableField

    @property
    def n_static(self) -> int:
        return self.field.n_static

    def velocity(self, t: Tensor, p: Tensor, theta: Tensor) -> Tensor:
        return self.field.velocity(self.clock(t), p, theta)

    def force(self, t: Tensor, q: Tensor, theta: Tensor) -> Tensor:
        return self.field.force(self.clock(t), q, theta)

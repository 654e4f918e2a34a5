"""Vector field with a constant on top: a system into which something flows at a rate that is held."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from tsode.numerics.base import VectorField
from tsode.numerics.exponential import RelaxingField
from tsode.numerics.exponential_difference import SemilinearField
from tsode.numerics.symplectic import SeparableField

__all__ = ["driven"]

SLOWEST = 1e-6  # rate, times a step of any sensible length, of a coordinate that does not relax to any digit


def driven(field: VectorField, drive: Tensor) -> VectorField:
    """The field with ``drive`` (b d) added, of the kind that it was: relaxing, semilinear or separable.

    The last ``field.n_static`` coordinates, where a field says that it has such, stand still all the same.
    """
    n_static = getattr(field, "n_static", 0)
    if n_static:
        drive = functional.pad(drive[:, : drive.shape[1] - n_static], (0, n_static))
    if isinstance(field, SemilinearField):
        return _DrivenSemilinear(field, drive)
    if isinstance(field, SeparableField):
        return _DrivenSeparable(field, drive)
    return _DrivenRelaxing(field, drive) if isinstance(field, RelaxingField) else _Driven(field, drive)


@dataclass(frozen=True, eq=False)
class _Driven:
    field: VectorField
    drive: Tensor

    def __call__(self, t: Tensor, z: Tensor) -> Tensor:
        return self.field(t, z) + self.drive


@dataclass(frozen=True, eq=False)
class _DrivenRelaxing(_Driven):
    field: RelaxingField

    def relaxation(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        rate, target = self.field.relaxation(t, z)
        rate = rate.clamp(min=SLOWEST)
        return rate, target + self.drive / rate


@dataclass(frozen=True, eq=False)
class _DrivenSemilinear(_Driven):
    field: SemilinearField

    def linearised(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        decay, frequency, drift = self.field.linearised(t, z)
        return decay, frequency, drift + self.drive

    def turn(self, z: Tensor) -> Tensor:
        return self.field.turn(z)


@dataclass(frozen=True, eq=False)
class _DrivenSeparable(_Driven):
    field: SeparableField

    @property
    def n_static(self) -> int:
        return self.field.n_static

    def velocity(self, t: Tensor, p: Tensor, theta: Tensor) -> Tensor:
        return self.field.velocity(t, p, theta) + self.drive[:, : p.shape[1]]

    def force(self, t: Tensor, q: Tensor, theta: Tensor) -> Tensor:
        return self.field.force(t, q, theta) + self.drive[:, q.shape[1] : 2 * q.shape[1]]

"""Staged vector fields: parts of them hold from one stop of a solve to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from tsode.numerics.affine_field import find_affine
from tsode.numerics.affine_flow import AffineFlow
from tsode.numerics.base import Solver, VectorField
from tsode.numerics.embedded_pair import EmbeddedPair
from tsode.numerics.switching import Switching

__all__ = ["StagedField", "easier"]


@dataclass(frozen=True)
class StagedField:
    """A vector field with numbers that change at stops alone, such as parameters that each occasion has its own of.

    Between two stops it is an easier field than as a whole, and may even be an affine one.

    Parameters
    ----------
    during : callable
        Times (b,) between two stops -> the field there.
    """

    during: Callable[[Tensor], VectorField]

    def __call__(self, t: Tensor, z: Tensor) -> Tensor:
        return self.during(t)(t, z)


def easier(field: VectorField, solver: Solver, t: Tensor, z: Tensor, has_triggers: bool) -> tuple[VectorField, Solver]:
    """The field and its solver, or what is exact where it is affine and the solver only asked to be near enough."""
    affine = find_affine(field, t, z) if isinstance(solver, EmbeddedPair | Switching) and not has_triggers else None
    return (field, solver) if affine is None else (affine, AffineFlow())

"""Solver of ordinary differential equations and way to its gradient: the base classes, and what a member promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from tsode.core.status import worst
from tsode.errors import ParameterError

__all__ = ["Gradient", "Solution", "Solver", "VectorField"]

VectorField = Callable[[Tensor, Tensor], Tensor]
"""Right-hand side of ``dz/dt = field(t, z)``: ``t`` (b,) float64, ``z`` (b d) -> (b d), each row by itself."""


@dataclass(frozen=True)
class Solution:
    """Where a solve ended.

    Parameters
    ----------
    z : Tensor[b d] or Tensor[b m d]
        State at the end time(s); the last finite state where a row failed.
    status : Tensor[b], int64
        `tsode.core.status.Status` of each row.
    n_steps : Tensor[b], int64
        Steps that carried the row forward; -1 where the solver does not tell.
    n_switches : Tensor[b], int64, optional
        Changes between methods, of a solver that has several.
    reached : Tensor[b], float64, optional
        To when each row came, of a solver that tells: before its end where it failed.
    gradient : Gradient, optional
        The way to the gradient that was taken, where it was asked for at the door (`tsode.numerics.integrate`).
    """

    z: Tensor
    status: Tensor
    n_steps: Tensor
    n_switches: Tensor | None = None
    gradient: Gradient | None = None
    reached: Tensor | None = None


class Solver(ABC):
    """A numerical method: settings only, no weights and no memory between calls.

    A member promises: a row of length zero comes back bit for bit; a row that fails keeps its last finite state and
    says so in its status, as does a row whose state or times are not finite to begin with; nothing is raised from
    inside a solve; ``t1 < t0`` works as well as ``t1 > t0``.

    Attributes
    ----------
    order : int
        Global order of convergence: the error at the end falls as this power of the length of the steps.
    gradients : tuple of str
        Names of the ways in which the gradient can be had (`tsode.numerics.gradients`). A solver that is no
        `StepwiseSolver` is handed the way's object, by the name of which it has to go.
    field_type : type
        Protocol of the vector fields that can be solved, where not every one can.
    remedy : str
        What to take for other fields.
    shares_steps : bool
        Whether the rows of a batch share their steps, so that an answer depends on its batch-mates within the tolerance
        and a row that fails fails them all.
    """

    order: ClassVar[int]
    gradients: ClassVar[tuple[str, ...]] = ("backprop", "checkpoint")
    field_type: ClassVar[type] = object
    remedy: ClassVar[str] = "another solver, for instance Midpoint()"
    shares_steps: ClassVar[bool] = False

    @abstractmethod
    def solve(self, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, gradient: object) -> Solution:
        """Carry ``z`` (b d) from ``t0`` (b,) to ``t1`` (b,)."""

    @abstractmethod
    def solve_to(
        self, field: VectorField, z: Tensor, t0: Tensor, times: Tensor, gradient: object, query_step: float
    ) -> Solution:
        """Carry ``z`` (b d) from ``t0`` (b,) to each of ``times`` (b m), all finite, before or after ``t0``."""

    def coarser(self, factor: float) -> Self:
        """The same method with steps about so many times as long, where its settings allow for that."""
        return self

    def solve_through(
        self, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, times: Tensor, gradient: object, query_step: float
    ) -> tuple[Tensor, Solution]:
        """States at ``t1`` (b,), and at ``times`` (b m) on the way; a row whose ``t1`` is infinite ends where it began.

        A solver that can read its steps does both in one pass.
        """
        end = self.solve(field, z, t0, t1.where(t1.isfinite(), t0), gradient)
        way = self.solve_to(field, z, t0, times, gradient, query_step)
        return end.z, Solution(way.z, worst(end.status, way.status), end.n_steps + way.n_steps)


class Gradient(ABC):
    """Family of ways to the gradient of a solve: settings only, and no change of the states themselves.

    By default the solver is left to do it, with this object handed on to each step.

    Attributes
    ----------
    name : str
        By which solvers say what they offer, and users may ask for the default settings.
    """

    name: ClassVar[str]

    def check(self, solver: Solver) -> None:
        """Raise a `ParameterError` unless the solver offers this way."""
        if self.name not in solver.gradients:
            raise ParameterError(
                f"gradient={self.name!r} is not offered by {type(solver).__name__}: "
                f"use one of {', '.join(solver.gradients)}."
            )

    def solve(self, solver: Solver, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor) -> Solution:
        """As `Solver.solve`."""
        return solver.solve(field, z, t0, t1, self)

    def solve_to(
        self, solver: Solver, field: VectorField, z: Tensor, t0: Tensor, times: Tensor, query_step: float
    ) -> Solution:
        """As `Solver.solve_to`."""
        return solver.solve_to(field, z, t0, times, self, query_step)

    def solve_through(
        self, solver: Solver, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, times: Tensor, query_step: float
    ) -> tuple[Tensor, Solution]:
        """As `Solver.solve_through`."""
        return solver.solve_through(field, z, t0, t1, times, self, query_step)


def constant(like: Tensor, value: int) -> Tensor:
    """A count or status for every row of `like` (b ...): Tensor[b], int64."""
    return torch.full(like.shape[:1], value, dtype=torch.int64, device=like.device)


def is_finite_row(z: Tensor) -> Tensor:
    """Whether all of a row of ``z`` (b d) is finite: Tensor[b], bool."""
    return z.detach().abs().amax(dim=1) < torch.inf  # half the time of isfinite().all(); NaN compares False

"""Evolution of a latent state from its own start time to its own end time: the seam between models and numerics.

A solver is one way to do it (`Solved`), a closed form another (`tsode.evolutions`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from tsode._registry import Part
from tsode.errors import ParameterError
from tsode.numerics.base import Gradient, Solution, Solver, VectorField
from tsode.numerics.driven import driven
from tsode.numerics.integrate import check_gradient, integrate, integrate_to
from tsode.numerics.stepwise import StepwiseSolver

__all__ = ["DrivenEvolution", "Evolution", "Evolved", "Solved", "StateField"]


@dataclass(frozen=True)
class Evolved:
    """Where an evolution ended.

    Parameters
    ----------
    z : Tensor[b d] or Tensor[b m d]
        State at the end time(s).
    cost : Tensor[b] or Tensor[b m]
        Integral kept along the way (a path KL, a compensator); zeros where there is none.
    status : Tensor[b], int64
        `tsode.core.status.Status` of each row.
    """

    z: Tensor
    cost: Tensor
    status: Tensor


class Evolution(nn.Module, ABC):
    """Family of evolutions of a latent state between events.

    A member promises: rows do not see each other; ``t0 == t1`` returns the state bit for bit; times are float64
    and only differences of them are cast to the state's dtype.

    Attributes
    ----------
    n_state : int
        Width of the state.
    runs_backward : bool
        Whether ``t1 < t0`` is allowed.
    """

    n_state: int
    runs_backward: bool = False

    @abstractmethod
    def evolve(self, z: Tensor, t0: Tensor, t1: Tensor) -> Evolved:
        """Carry ``z`` (b d) from ``t0`` (b,) to ``t1`` (b,)."""

    def evolve_to(self, z: Tensor, t0: Tensor, times: Tensor) -> Evolved:
        """Carry ``z`` (b d) from ``t0`` (b,) to each of a row's own ``times`` (b m): states (b m d).

        Each answer depends on its own time only, never on which other times are asked for.
        """
        return _evolve_flat(self.evolve, z, t0, times)

    def slope(self, t: Tensor, z: Tensor) -> Tensor:
        """Rate of change of the states ``z`` (b d) at ``t`` (b,), without a drive: Tensor[b d].

        Raises
        ------
        ParameterError
            If the evolution is none of a field.
        """
        raise ParameterError(
            f"{type(self).__name__} says no rate of change of its state: give it a method slope(t, z)."
        )

    @property
    def n_standing(self) -> int:
        """How many coordinates, the last ones, stand still between events."""
        return int(getattr(self, "n_static", 0))


class DrivenEvolution(Evolution):
    """Family of evolutions that take a drive: a constant in the rate of change of the state, as of an infusion.

    A member promises as well: two drives one after the other over two halves of an interval are one over the whole.
    """

    @abstractmethod
    def evolve(self, z: Tensor, t0: Tensor, t1: Tensor, drive: Tensor | None = None) -> Evolved:
        """Carry ``z`` (b d) from ``t0`` (b,) to ``t1`` (b,), with ``drive`` (b d) in its rate of change on the way.

        Components that stand still between events stand still all the same.
        """

    def evolve_to(self, z: Tensor, t0: Tensor, times: Tensor, drive: Tensor | None = None) -> Evolved:
        """Carry ``z`` (b d) from ``t0`` (b,) to each of ``times`` (b m), with ``drive`` (b d) on the way."""
        return _evolve_flat(self.evolve, z, t0, times, *(() if drive is None else (drive,)))


def _evolve_flat(evolve: Callable[..., Evolved], z: Tensor, t0: Tensor, times: Tensor, *drive: Tensor) -> Evolved:
    """`Evolution.evolve_to` by `evolve` with a row for each of the times."""
    b, m = times.shape
    states = [x[:, None].expand(b, m, -1).reshape(b * m, -1) for x in (z, *drive)]
    flat = evolve(states[0], t0[:, None].expand(b, m).reshape(-1), times.reshape(-1), *states[1:])
    status = flat.status.reshape(b, m).amax(dim=1) if m else torch.zeros_like(t0, dtype=torch.int64)
    return Evolved(flat.z.reshape(b, m, -1), flat.cost.reshape(b, m), status)


class StateField(Protocol):
    """A vector field that knows the width of its state; the members are in `tsode.dynamics`."""

    n_state: int

    def __call__(self, t: Tensor, z: Tensor) -> Tensor: ...


class Solved(DrivenEvolution):
    """Evolution of a vector field by a numerical solver.

    Parameters
    ----------
    dynamics : nn.Module
        Right-hand side: a member of `tsode.dynamics`.
    solver : Solver
        A member of `tsode.numerics.SOLVERS`.
    gradient : str, Part or Gradient
        See `tsode.numerics.integrate.integrate`.
    query_step : float
        Step of `evolve_to` for solvers with `n_steps`, see `tsode.numerics.integrate.integrate_to`. Model time is
        scaled so that a forecast horizon is about 1, and four steps to a horizon serve a smooth field.
    """

    runs_backward = True

    def __init__(
        self,
        dynamics: StateField,
        solver: Solver,
        gradient: str | Part | Gradient = "backprop",
        query_step: float = 0.25,
    ) -> None:
        super().__init__()
        self.dynamics = dynamics
        self.solver = solver
        self.gradient = check_gradient(solver, gradient)
        self.query_step = query_step
        self.n_state = dynamics.n_state

    def evolve(self, z: Tensor, t0: Tensor, t1: Tensor, drive: Tensor | None = None) -> Evolved:
        return _without_cost(integrate(self._field(drive), z, t0, t1, self.solver, self.gradient))

    def evolve_to(self, z: Tensor, t0: Tensor, times: Tensor, drive: Tensor | None = None) -> Evolved:
        if drive is not None and not isinstance(self.solver, StepwiseSolver):  # may lay the rows out in its own way
            return super().evolve_to(z, t0, times, drive)
        field = self._field(drive)
        return _without_cost(integrate_to(field, z, t0, times, self.solver, self.gradient, self.query_step))

    def slope(self, t: Tensor, z: Tensor) -> Tensor:
        return self.dynamics(t, z)

    @property
    def n_standing(self) -> int:
        return int(getattr(self.dynamics, "n_static", 0))

    def _field(self, drive: Tensor | None) -> VectorField:
        if drive is None:
            return self.dynamics
        if self.gradient.name == "adjoint" and not isinstance(self.solver, StepwiseSolver):
            raise ParameterError(
                f"gradient='adjoint' of {type(self.solver).__name__} gives no gradient to the rates of infusions: use "
                "gradient='backprop', or a solver of tsode."
            )
        return driven(self.dynamics, drive)


def _without_cost(solution: Solution) -> Evolved:
    return Evolved(solution.z, solution.z.new_zeros(solution.z.shape[:-1]), solution.status)

"""Stochastic differential equations and their solvers: the base classes, and what their members promise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tsode._checks import check_shapes
from tsode.core.status import Status
from tsode.errors import ParameterError
from tsode.numerics.base import Solution, constant, is_finite_row
from tsode.numerics.brownian import Brownian

__all__ = ["DiagonalSDE", "Ito", "SDESolver", "Stratonovich", "integrate_sde", "integrate_sde_to"]


class DiagonalSDE(nn.Module, ABC):
    """Equation ``dz = drift dt + diffusion dW`` in which each coordinate has noise of its own.

    A member is an `Ito` or a `Stratonovich` equation and promises: rows do not see each other; the diffusion of a
    coordinate reads the time and that coordinate alone, for otherwise the noise would not commute and no method of
    order 1 could do with increments. A solver asks for all rows at once, in their order, so that an equation may hold
    something for each row.

    Parameters
    ----------
    n_state : int
        Width of the state.

    Attributes
    ----------
    calculus : {"ito", "stratonovich"}
        In which sense ``diffusion dW`` is meant.
    """

    calculus: str

    def __init__(self, n_state: int) -> None:
        super().__init__()
        self.n_state = n_state

    @abstractmethod
    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        """Mean rate of change: ``t`` (b,) float64, ``z`` (b d) -> (b d)."""

    @abstractmethod
    def diffusion(self, t: Tensor, z: Tensor) -> Tensor:
        """Size of each coordinate's noise: ``t`` (b,) float64, ``z`` (b d) -> (b d)."""

    def terms(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Drift and diffusion; a member that can share work between them overrides this."""
        return self.drift(t, z), self.diffusion(t, z)

    def prepared(self) -> DiagonalSDE:
        """The same equation for a loop of many steps: a member that has work to do but once overrides this."""
        return self

    def diffusion_slope(self, t: Tensor, z: Tensor) -> Tensor:
        """Derivative of each coordinate's diffusion by that coordinate: (b d). A closed form may override this."""
        is_recorded = torch.is_grad_enabled()
        with torch.enable_grad():
            at = z if is_recorded and z.requires_grad else z.detach().requires_grad_()
            g = self.diffusion(t, at)
            if not g.requires_grad:
                return torch.zeros_like(z)
            (slope,) = torch.autograd.grad(g.sum(), at, create_graph=is_recorded, materialize_grads=True)
        return slope


class Ito(DiagonalSDE):
    """Family of equations in the sense of Ito."""

    calculus = "ito"


class Stratonovich(DiagonalSDE):
    """Family of equations in the sense of Stratonovich.

    In the sense of Ito such an equation has half of ``diffusion * diffusion_slope`` added to its drift.
    """

    calculus = "stratonovich"


class SDESolver(ABC):
    """A numerical method for `DiagonalSDE`: settings only, no weights and no memory between calls.

    A member promises: a row of length zero comes back bit for bit; a row that fails keeps its last finite state and
    says so in its status; nothing is raised from inside a solve; all randomness is that of the Brownian path given,
    which may be narrower than the state: coordinates past its last column have no noise.

    Attributes
    ----------
    strong_order : float
        Order of strong convergence for any diagonal noise: the mean distance from the solution along the same Brownian
        path falls as this power of the length of the steps.
    calculi : tuple of str
        Kinds of equations that can be solved.
    max_step : float or None
        Longest step, where a setting limits it.
    """

    strong_order: ClassVar[float]
    calculi: ClassVar[tuple[str, ...]] = ("ito", "stratonovich")
    max_step: float | None = None

    @abstractmethod
    def solve(self, sde: DiagonalSDE, z: Tensor, t0: Tensor, t1: Tensor, brownian: Brownian) -> Solution:
        """Carry ``z`` (b d) from ``t0`` (b,) to ``t1 >= t0`` (b,)."""

    @abstractmethod
    def solve_to(
        self, sde: DiagonalSDE, z: Tensor, t0: Tensor, times: Tensor, brownian: Brownian, query_step: float
    ) -> Solution:
        """Carry ``z`` (b d) from ``t0`` (b,) to each of ``times >= t0`` (b m), all finite, m at least 1."""

    def as_steps(self) -> Any:
        """The method as an `SDEStep`, which is led from step to step; a `ParameterError` where it cannot be."""
        raise ParameterError(
            f"{self} cannot be led from step to step, which a guided path needs: use another solver, for instance "
            "HeunMaruyama()."
        )


def widen(noise: Tensor, z: Tensor) -> Tensor:
    """Noise (... k) in the dtype and width of ``z`` (... d), with zeros for coordinates that have none."""
    return nn.functional.pad(noise.to(z.dtype), (0, z.shape[-1] - noise.shape[-1]))


def integrate_sde(
    sde: DiagonalSDE, z: Tensor, t0: Tensor, t1: Tensor, solver: SDESolver, brownian: Brownian
) -> Solution:
    """Carry each state from its own start time to its own end time, along its own Brownian path.

    Parameters
    ----------
    sde : DiagonalSDE
        A member of `tsode.dynamics.SDES`.
    z : Tensor[b d]
        States at `t0`.
    t0, t1 : Tensor[b], float64, in the batch's time unit
        Start and end of each row's interval; ``t1 >= t0``.
    solver : SDESolver
        A member of `tsode.numerics.SDE_SOLVERS`.
    brownian : callable
        For instance a `BrownianPath` with an origin at or before `t0`.

    Returns
    -------
    Solution
        A row whose state or times are not finite comes back unchanged with `Status.NON_FINITE`.

    Raises
    ------
    ShapeError
        If `z`, `t0` and `t1` disagree on ``b``.
    ParameterError
        If the solver cannot solve equations of this kind.
    """
    check_shapes(z=(z, "b d"), t0=(t0, "b"), t1=(t1, "b"))
    check_calculus(sde, solver)
    is_usable = is_finite_row(z) & (t1 - t0).isfinite()
    end = t1.where(is_usable, t0)
    solution = solver.solve(sde, torch.where(is_usable[:, None], z, 0.0), t0, end, brownian)
    return _unless(is_usable, solution, z)


def integrate_sde_to(
    sde: DiagonalSDE,
    z: Tensor,
    t0: Tensor,
    times: Tensor,
    solver: SDESolver,
    brownian: Brownian,
    query_step: float = 0.25,
) -> Solution:
    """Carry each state from its own start time to each of its own times, along one Brownian path.

    The steps are laid out from `t0` without regard to `times`. An answer inside a step is a shorter step from the
    step's start, with the noise up to its own time: it depends on that time only, never on which others are asked for,
    and all answers of a row lie on one path.

    Parameters
    ----------
    sde, z, t0, solver, brownian
        As in `integrate_sde`; `brownian` must reach `query_step` past the last of the times.
    times : Tensor[b m], float64, in the batch's time unit
        In any order, not before `t0`.
    query_step : float
        Length that is cut into the solver's `n_steps`; a solver with a `max_step` takes steps of that length instead.

    Returns
    -------
    Solution
        ``z`` : Tensor[b m d]. Past the point where a row failed stands its last finite state.

    Raises
    ------
    ShapeError, ParameterError
        As in `integrate_sde`, and if `query_step` is not positive.
    """
    check_shapes(z=(z, "b d"), t0=(t0, "b"), times=(times, "b m"))
    check_calculus(sde, solver)
    if not query_step > 0:
        raise ParameterError(f"query_step must be a positive length of time, but is {query_step}.")
    states = z[:, None].expand(-1, times.shape[1], -1)
    if times.numel() == 0:
        return Solution(states, constant(z, Status.OK), constant(z, 0))
    is_usable = is_finite_row(z) & is_finite_row(times - t0[:, None])
    ends = torch.where(is_usable[:, None], times, t0[:, None])
    solution = solver.solve_to(sde, torch.where(is_usable[:, None], z, 0.0), t0, ends, brownian, query_step)
    return _unless(is_usable, solution, states)


def check_calculus(sde: DiagonalSDE, solver: SDESolver) -> None:
    """Raise a `ParameterError` unless the solver solves equations of this kind."""
    if sde.calculus not in solver.calculi:
        raise ParameterError(
            f"{solver} does not solve {sde.calculus} equations such as {type(sde).__name__}, only "
            f"{' and '.join(solver.calculi)}: use another solver, for instance Milstein()."
        )


def _unless(is_usable: Tensor, solution: Solution, z: Tensor) -> Solution:
    """The solution, and where a row could not be used its state."""
    pick = is_usable.reshape(-1, *[1] * (z.dim() - 1))
    return Solution(
        torch.where(pick, solution.z, z),
        solution.status.where(is_usable, int(Status.NON_FINITE)),
        solution.n_steps,
    )

"""Integration of a vector field, each row by its own clock: the door to the solvers."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import cast

import torch
from torch import Tensor

from tsode._checks import check_shapes
from tsode._registry import Part, build
from tsode.core.status import Status
from tsode.errors import ParameterError
from tsode.numerics.base import Gradient, Solution, Solver, VectorField, is_finite_row
from tsode.numerics.gradients import GRADIENTS

__all__ = ["check_field", "check_gradient", "integrate", "integrate_through", "integrate_to"]


def integrate(
    field: VectorField,
    z: Tensor,
    t0: Tensor,
    t1: Tensor,
    solver: Solver,
    gradient: str | Part | Gradient = "backprop",
) -> Solution:
    """Carry each state from its own start time to its own end time, forward or backward.

    Rows with ``t0 == t1`` come back unchanged, bit for bit.

    Parameters
    ----------
    field : callable
        Right-hand side: ``t`` (b,) float64, ``z`` (b d) -> (b d), each row by itself.
    z : Tensor[b d]
        States at `t0`.
    t0, t1 : Tensor[b], float64, in the batch's time unit
        Start and end of each row's interval.
    solver : Solver
        A member of `tsode.numerics.SOLVERS`.
    gradient : str, Part or Gradient
        Way to the gradient, by name or as an object of `tsode.numerics.gradients`: "backprop" keeps every step,
        "checkpoint" the states between them, "binomial" few of these; "reversible" takes steps back, where the solver
        can; "adjoint" solves the adjoint equation, for an approximate gradient; "forward" carries the derivatives by
        few numbers along; "auto" chooses. It is the one that is taken, and the solution says which.

    Returns
    -------
    Solution
        A row whose state or times are not finite comes back unchanged with `Status.NON_FINITE`.

    Raises
    ------
    ShapeError
        If `z`, `t0` and `t1` disagree on ``b``.
    ParameterError
        If the solver has no such gradient, or the field is not of the kind the solver needs.
    """
    check_shapes(z=(z, "b d"), t0=(t0, "b"), t1=(t1, "b"))
    way = check_gradient(solver, gradient)
    check_field(solver, field)
    return _by(way, way.solve(solver, field, z, t0, t1))


def integrate_to(
    field: VectorField,
    z: Tensor,
    t0: Tensor,
    times: Tensor,
    solver: Solver,
    gradient: str | Part | Gradient = "backprop",
    query_step: float = 0.25,
) -> Solution:
    """Carry each state from its own start time to each of its own times, before or after the start.

    The steps are laid out from `t0` without regard to `times`, and the answers read inside them: an answer depends on
    its own time only, never on which other times are asked for. The last step may reach past the last of the times.

    Parameters
    ----------
    field, z, t0, solver, gradient
        As in `integrate`.
    times : Tensor[b m], float64, in the batch's time unit
        In any order.
    query_step : float
        Length that solvers with `n_steps` cut into that many steps; a solver with a `max_step` takes steps of that
        length instead, and adaptive ones choose their own.

    Returns
    -------
    Solution
        ``z`` : Tensor[b m d]. Past the point where a row failed stands its last finite state. A row whose state or any
        time is not finite is answered with its state and `Status.NON_FINITE`.

    Raises
    ------
    ShapeError, ParameterError
        As in `integrate`, and if `query_step` is not positive.
    """
    check_shapes(z=(z, "b d"), t0=(t0, "b"), times=(times, "b m"))
    way = check_gradient(solver, gradient)
    check_field(solver, field)
    if not query_step > 0:
        raise ParameterError(f"query_step must be a positive length of time, but is {query_step}.")
    states = z[:, None].expand(-1, times.shape[1], -1)
    if times.numel() == 0:
        return Solution(states, torch.zeros_like(t0, dtype=torch.int64), torch.zeros_like(t0, dtype=torch.int64))
    is_usable = is_finite_row(z) & is_finite_row(times - t0[:, None])
    solution = way.solve_to(
        solver,
        field,
        torch.where(is_usable[:, None], z, 0.0),
        t0.where(is_usable, 0.0),
        times.where(is_usable[:, None], 0.0),
        query_step,
    )
    return Solution(
        torch.where(is_usable[:, None, None], solution.z, states),
        solution.status.where(is_usable, int(Status.NON_FINITE)),
        solution.n_steps,
        solution.n_switches,
        solution.gradient or way,
        solution.reached,
    )


def integrate_through(
    field: VectorField,
    z: Tensor,
    t0: Tensor,
    t1: Tensor,
    times: Tensor,
    solver: Solver,
    gradient: str | Part | Gradient = "backprop",
    query_step: float = 0.25,
) -> tuple[Tensor, Solution]:
    """Carry each state to its own end, and to its own times on the way there.

    Parameters
    ----------
    field, z, t0, solver, gradient, query_step
        As in `integrate_to`.
    t1 : Tensor[b], float64
        End of each row, which the steps are laid out for; a row that has none, infinite, ends where it began.
    times : Tensor[b m], float64
        Not before ``t0``, and not after the end of a row that has one.

    Returns
    -------
    Tensor[b d]
        States at the ends.
    Solution
        As of `integrate_to`.
    """
    check_shapes(z=(z, "b d"), t0=(t0, "b"), t1=(t1, "b"), times=(times, "b m"))
    way = check_gradient(solver, gradient)
    check_field(solver, field)
    states = z[:, None].expand(-1, times.shape[1], -1)
    if times.numel() == 0:
        alone = way.solve(solver, field, z, t0, t1.where(t1.isfinite(), t0))
        return alone.z, Solution(
            states, alone.status, alone.n_steps, alone.n_switches, alone.gradient or way, alone.reached
        )
    is_usable = is_finite_row(z) & is_finite_row(times - t0[:, None])
    end, on_the_way = way.solve_through(
        solver,
        field,
        torch.where(is_usable[:, None], z, 0.0),
        t0.where(is_usable, 0.0),
        torch.where(is_usable, t1, torch.inf),
        times.where(is_usable[:, None], 0.0),
        query_step,
    )
    return torch.where(is_usable[:, None], end, z), Solution(
        torch.where(is_usable[:, None, None], on_the_way.z, states),
        on_the_way.status.where(is_usable, int(Status.NON_FINITE)),
        on_the_way.n_steps,
        on_the_way.n_switches,
        on_the_way.gradient or way,
        on_the_way.reached,
    )


def check_gradient(solver: Solver, gradient: str | Part | Gradient, offered: tuple[str, ...] | None = None) -> Gradient:
    """The way to the gradient as an object; a `ParameterError` unless the solver offers it.

    Parameters
    ----------
    offered : tuple of str, optional
        Names of the ways that can be gone where the question comes from.
    """
    way = gradient if isinstance(gradient, Gradient) else _named(gradient)
    way.check(solver)
    if offered is not None and way.name not in offered:
        raise ParameterError(
            f"gradient={way.name!r} is not offered by {type(solver).__name__} here: use one of {', '.join(offered)}."
        )
    return way


@cache
def _named(gradient: str | Part) -> Gradient:
    return cast("Gradient", build(GRADIENTS, gradient, "gradient"))


def _by(way: Gradient, solution: Solution) -> Solution:
    return solution if solution.gradient is not None else replace(solution, gradient=way)


def check_field(solver: Solver, field: VectorField) -> None:
    """Raise a `ParameterError` unless the vector field is of the kind that the solver needs."""
    if not isinstance(field, solver.field_type):
        methods = " and ".join(name for name in vars(solver.field_type) if not name.startswith("_"))
        raise ParameterError(
            f"{type(solver).__name__} needs a {solver.field_type.__name__}, a field with {methods}, which "
            f"{type(field).__name__} has not: use {type(solver).remedy}."
        )

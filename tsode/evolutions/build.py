"""Evolution by its name."""

from __future__ import annotations

from typing import Any

from tsode._registry import lookup
from tsode.dynamics import DYNAMICS
from tsode.dynamics.base import Dynamics
from tsode.dynamics.semilinear import SemilinearDynamics
from tsode.dynamics.with_static import WithStatic
from tsode.evolutions.base import Evolution, Solved
from tsode.evolutions.diagonal import DiagonalFlow
from tsode.numerics import SOLVERS
from tsode.numerics.base import Solver

__all__ = ["MODAL", "build_evolution"]

MODAL = ("linear", "semilinear")
"""Evolutions of complex modes whose rates are set by static components."""


def build_evolution(
    evolution: str | Evolution,
    *,
    solver: str | Solver = "midpoint",
    n_modes: int = 64,
    n_static: int = 32,
    n_state: int = 64,
    query_step: float = 0.25,
) -> Evolution:
    """Make an evolution; an instance is returned as it is.

    Parameters
    ----------
    evolution : str or Evolution
        "linear" (`DiagonalFlow` of `n_modes` modes and `n_static` statics), "semilinear" (the same with a neural
        correction, solved), or the name of another field in `tsode.dynamics.DYNAMICS` (of `n_state` coordinates that
        move and `n_static` that stand still).
    solver : str or Solver
        Name in `tsode.numerics.SOLVERS`, or an instance; not used by "linear".
    query_step : float
        See `tsode.evolutions.base.Solved`.
    """
    if not isinstance(evolution, str):
        return evolution
    if evolution == "linear":
        return DiagonalFlow(n_modes, n_static)
    field: Dynamics
    made: Any = lookup({"linear": DiagonalFlow, **DYNAMICS}, evolution, "evolution")
    if made is SemilinearDynamics:
        field = made(2 * n_modes + n_static, n_modes)
    else:
        field = made(n_state + n_static)
        if n_static:
            field = WithStatic(field, n_static)
    made_solver = lookup(SOLVERS, solver, "solver")() if isinstance(solver, str) else solver
    return Solved(field, made_solver, query_step=query_step)

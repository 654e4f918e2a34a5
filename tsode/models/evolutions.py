"""An evolution by its name."""

from __future__ import annotations

from typing import Any

from tsode._registry import lookup
from tsode.dynamics import DYNAMICS
from tsode.dynamics.with_static import WithStatic
from tsode.evolution import Evolution, Solved
from tsode.flows import DiagonalFlow
from tsode.numerics import SOLVERS
from tsode.numerics.base import Solver

__all__ = ["build_evolution"]


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
        "linear" (`DiagonalFlow` of `n_modes` modes and `n_static` statics) or the name of a field in
        `tsode.dynamics.DYNAMICS` (of `n_state` coordinates that move and `n_static` that stand still).
    solver : str or Solver
        Name in `tsode.numerics.SOLVERS`, or an instance; not used by "linear".
    query_step : float
        See `tsode.evolution.Solved`.
    """
    if not isinstance(evolution, str):
        return evolution
    if evolution == "linear":
        return DiagonalFlow(n_modes, n_static)
    made: Any = lookup({"linear": DiagonalFlow, **DYNAMICS}, evolution, "evolution")
    field = made(n_state + n_static)
    if n_static:
        field = WithStatic(field, n_static)
    made_solver = lookup(SOLVERS, solver, "solver")() if isinstance(solver, str) else solver
    return Solved(field, made_solver, query_step=query_step)

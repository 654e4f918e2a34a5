"""Evolution by its name: in closed form, or a field of the dynamics with a solver."""

from __future__ import annotations

from typing import Any

from tsode._registry import Part, Registry, build, class_of
from tsode.dynamics import DYNAMICS
from tsode.dynamics.base import Dynamics
from tsode.dynamics.semilinear import SemilinearDynamics
from tsode.dynamics.structured import Structured
from tsode.dynamics.with_static import WithStatic
from tsode.evolutions.base import Evolution, Solved
from tsode.evolutions.diagonal import DiagonalFlow
from tsode.evolutions.orthogonal import OrthogonalFlow
from tsode.evolutions.reversible import Reversible
from tsode.numerics import SOLVERS
from tsode.numerics.base import Gradient, Solver

__all__ = ["EVOLUTIONS", "build_evolution", "is_modal"]

EVOLUTIONS: Registry[type[Evolution]] = Registry(
    "evolution",
    Evolution,
    {"linear": DiagonalFlow, "orthogonal": OrthogonalFlow, "reversible": Reversible},
    sizes=("n_state", "n_modes", "n_static"),
    beside=DYNAMICS,
)
"""Evolutions that are taken by name, beside the dynamics, which are solved."""


def is_modal(evolution: Any) -> bool:
    """Whether an evolution that is given by name has static components among those that it is made of."""
    return issubclass(_class_of(evolution), Evolution | SemilinearDynamics)


def build_evolution(
    evolution: str | Part | Evolution | Dynamics,
    *,
    solver: str | Part | Solver = "midpoint",
    gradient: str | Part | Gradient = "backprop",
    n_modes: int = 64,
    n_static: int = 32,
    n_state: int = 64,
    query_step: float = 0.25,
) -> Evolution:
    """Make an evolution; one that is made already is returned as it is.

    Parameters
    ----------
    evolution : str, Part, Evolution or Dynamics
        "linear" (`DiagonalFlow` of `n_modes` modes and `n_static` statics), "orthogonal" (`OrthogonalFlow`, of the same
        sizes), "reversible" (`Reversible`, of `n_state` and `n_static`), "semilinear" (the linear one with a neural
        correction, solved), or the name of another field in `tsode.dynamics.DYNAMICS` (of `n_state` coordinates that
        move and `n_static` that stand still); or a field of your own as it is, of its own size, solved.
    solver : str, Part or Solver
        Name in `tsode.numerics.SOLVERS`, or an instance; not used by "linear".
    gradient : str, Part or Gradient
        See `tsode.evolutions.base.Solved`; not used by "linear".
    query_step : float
        See `tsode.evolutions.base.Solved`.
    """
    if isinstance(evolution, Evolution):
        return evolution
    if isinstance(evolution, Dynamics):
        return Solved(evolution, build(SOLVERS, solver, "solver"), query_step=query_step)
    cls = _class_of(evolution)
    sizes = {"n_state": n_state, "n_modes": n_modes, "n_static": n_static}
    if issubclass(cls, Evolution):
        return build(EVOLUTIONS, evolution, "evolution", **sizes)
    if issubclass(cls, SemilinearDynamics):
        field = build(DYNAMICS, evolution, "evolution", n_state=2 * n_modes + n_static, n_modes=n_modes)
    else:
        field = build(DYNAMICS, evolution, "evolution", n_state=n_state + n_static, n_static=n_static)
        if n_static and not isinstance(field, Structured):
            field = WithStatic(field, n_static)
    return Solved(field, build(SOLVERS, solver, "solver"), gradient, query_step=query_step)


def _class_of(evolution: Any) -> type:
    if isinstance(evolution, Evolution | Dynamics):
        return type(evolution)
    return class_of({**DYNAMICS, **EVOLUTIONS}, evolution, "evolution")

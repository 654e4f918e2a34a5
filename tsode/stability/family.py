"""Families of flows: a field or map with a parameter, a value of which gives a flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.numerics.base import Solver, VectorField
from tsode.numerics.row_jacobian import linearise
from tsode.stability.flow import Flow, Map, as_flow

__all__ = ["Family", "Scaling", "as_family"]

ParametrisedField = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Scaling:
    """States ``z = scale u`` and parameters ``p = low + width q``, so that all unknowns are about 1.

    Parameters
    ----------
    scale : array[d]
    low, width : float
        Of the range of the parameter.
    """

    scale: np.ndarray
    low: float
    width: float

    def parameter(self, q: float) -> float:
        return self.low + self.width * q

    def share(self, p: float) -> float:
        """The parameter's place in the range, from 0 to 1."""
        return (p - self.low) / self.width


@dataclass(frozen=True, eq=False)
class Family:
    """Flows of one field, or map, at each value of a parameter.

    Parameters
    ----------
    field : callable
        ``field(t, z, p)``: ``t`` (b,), ``z`` (b d), ``p`` (b,) -> (b d), each row by itself; of a map the next state.
    names : tuple of str
        Of the coordinates.
    is_map : bool
    solver : Solver, optional
    """

    field: ParametrisedField
    names: tuple[str, ...]
    is_map: bool = False
    solver: Solver | None = None

    def rate(self, value: float) -> VectorField:
        """The field ``f(t, z)`` at a value of the parameter."""
        return lambda t, z: self.field(t, z, z.new_full((len(z),), value))

    def at(self, value: float, solver: Solver | None = None) -> Flow:
        """The flow at a value of the parameter."""
        rate = self.rate(value)
        system = Map(lambda z: rate(z.new_zeros(len(z)), z)) if self.is_map else rate
        return as_flow(system, len(self.names), self.names, solver or self.solver)

    def scaled(self, scaling: Scaling) -> Family:
        """The same in the coordinates and the parameter of a scaling."""
        size = torch.from_numpy(scaling.scale)

        def field(t: Tensor, z: Tensor, p: Tensor) -> Tensor:
            return self.field(t, z * size, scaling.low + scaling.width * p) / size

        return Family(field, self.names, self.is_map, self.solver)

    def linearise(self, t: float, z: Tensor, p: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Slope (b d), its Jacobian (b d d) and its derivative by the parameter (b d) at ``z`` (b d) and ``p`` (b,)."""
        d = z.shape[1]

        def slope(t: Tensor, y: Tensor) -> Tensor:
            state = y[:, :d]
            value = self.field(t, state, y[:, d])
            return torch.cat([value - state if self.is_map else value, torch.zeros_like(y[:, d:])], dim=1)

        time = torch.full((len(z),), t, dtype=torch.float64)
        value, jacobian, _ = linearise(slope, time, torch.cat([z, p[:, None]], dim=1))
        whole = jacobian.detach().numpy()
        return value[:, :d].detach().numpy(), whole[:, :d, :d], whole[:, :d, d]


def as_family(
    system: Any, z: Tensor, parameter: float, names: Sequence[str] | None, solver: Solver | None
) -> Family:  # fmt: skip
    """Read what a user gives as a family, and try it once.

    Parameters
    ----------
    system : callable, Map or Family
        ``f(t, z, p)``, or a `Map` of ``step(z, p)``.
    z : Tensor[b d]
        States that it can be tried at.
    parameter : float
        A value that it can be tried at.

    Raises
    ------
    ParameterError
        If it does not take a parameter by rows.
    """
    if isinstance(system, Family):
        return system
    d = z.shape[1]
    labels = tuple(names) if names is not None else tuple(f"z{i + 1}" for i in range(d))
    if len(labels) != d:
        raise ParameterError(f"There are {d} states, but {len(labels)} names: {', '.join(labels)}.")
    if isinstance(system, Map):
        step: Any = system.step
        family = Family(lambda t, x, p: step(x, p), labels, True)
    elif callable(system):
        family = Family(system, labels, False, solver)
    else:
        raise ParameterError(
            f"A {type(system).__name__} has no parameter: give a function f(t, z, p), or a Map of step(z, p)."
        )
    rows = z[:1].expand(d + 1, d)  # as many rows as no axis has coordinates, so that a wrong broadcast shows
    wanted = "p comes as (b,), like t: write p * z[:, 0], or p[:, None] * z."
    try:
        value = family.field(torch.zeros(d + 1, dtype=torch.float64), rows, rows.new_full((d + 1,), parameter))
    except (RuntimeError, TypeError, IndexError) as error:
        raise ParameterError(
            f"The field could not be asked with t (b,), z (b, {d}) and p (b,): {error} {wanted}"
        ) from error
    if tuple(value.shape) != (d + 1, d):
        raise ParameterError(
            f"The field of {d + 1} states gives the shape {tuple(value.shape)}, not {(d + 1, d)}. {wanted}"
        )
    return family

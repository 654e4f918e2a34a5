"""Derivatives of states by their start and by the parameters of a field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tsode.core.status import Status
from tsode.errors import ParameterError, SolverError
from tsode.numerics.base import VectorField
from tsode.numerics.dopri5 import Dopri5
from tsode.numerics.gradients.forward import sensitivities
from tsode.numerics.gradients.tape import KeepNothing, Tape
from tsode.numerics.stepwise import StepwiseSolver

__all__ = ["StateSensitivities", "state_sensitivities"]


@dataclass(frozen=True)
class StateSensitivities:
    """States and their derivatives.

    Parameters
    ----------
    z : Tensor[b d]
        At the end.
    by_start : Tensor[b d d]
        Derivative of the first d by the last d, the coordinates of the start.
    by_parameters : dict of name to Tensor[b d ...]
        Derivatives by each parameter, whose shape they end with.
    """

    z: Tensor
    by_start: Tensor
    by_parameters: dict[str, Tensor]


def state_sensitivities(
    field: VectorField, z0: Any, t0: float, t1: float, *, parameters: Mapping[str, Tensor] | None = None,
    solver: StepwiseSolver | None = None,
) -> StateSensitivities:  # fmt: skip
    """Derivatives of the states at `t1` by those at `t0` and by parameters, all from one solve.

    They are carried along with the states (`tsode.numerics.gradients.Forward`) and are exact for the steps that are
    taken. Work grows with the number of coordinates and parameters, memory does not grow with the steps.
    ``torch.func.jacrev`` and ``jacfwd`` over `tsode.numerics.integrate.integrate` give the same with explicit solvers;
    ``vmap`` only with steps of fixed length, as others are chosen by looking at the state.

    Parameters
    ----------
    field : callable
        Right-hand side as of `tsode.solve`.
    z0 : Tensor[b d] or Tensor[d]
        States at `t0`; the derivatives keep the rows.
    t0, t1 : float
    parameters : dict of name to Tensor, optional
        Tensors that the field reads, which require a gradient; by default its own, where it is a module.
    solver : StepwiseSolver, optional
        By default a `Dopri5` at a relative tolerance of 1e-10.

    Raises
    ------
    ParameterError
        If the solver has no such way, or a parameter requires no gradient or is not read by the field.
    SolverError
        If a row does not get to the end.

    Examples
    --------
    >>> rate = torch.tensor([-0.5], dtype=torch.float64, requires_grad=True)
    >>> found = state_sensitivities(lambda t, z: rate * z, torch.ones(1, 1), 0.0, 2.0, parameters={"rate": rate})
    >>> round(found.by_start.item(), 6), round(found.by_parameters["rate"].item(), 6)
    (0.367879, 0.735759)
    """
    solver = Dopri5(rtol=1e-10, atol=1e-12, max_steps=100_000) if solver is None else solver
    if not isinstance(solver, StepwiseSolver) or "forward" not in solver.gradients:
        raise ParameterError(
            f"{type(solver).__name__} cannot carry derivatives along: use another solver, for instance Dopri5()."
        )
    if parameters is None:
        parameters = dict(field.named_parameters()) if isinstance(field, torch.nn.Module) else {}
    for name, value in parameters.items():
        if not value.requires_grad:
            raise ParameterError(f"Parameter {name!r} requires no gradient: make it with requires_grad=True.")
    z = torch.as_tensor(z0, dtype=torch.float64).detach()
    z = z[None] if z.dim() == 1 else z
    start, end = (torch.full((len(z),), float(t), dtype=torch.float64, device=z.device) for t in (t0, t1))
    d = z.shape[1]
    if solver.carried(field, start, z)[0] is not solver:
        raise ParameterError(
            f"{type(solver).__name__} carries more than the state: use another solver, for instance Dopri5()."
        )
    tape = Tape(solver, field, z, start, end, KeepNothing())
    if tape.record.status.any():
        row = int(tape.record.status.argmax())
        raise SolverError(f"Row {row} {Status(int(tape.record.status[row])).meaning}.")
    names = {id(value): name for name, value in parameters.items()}
    met = [names.get(id(value)) for value in tape.captured.tensors]
    unread = [name for name in parameters if name not in met]
    if unread and tape.n_steps:
        raise ParameterError(
            f"The field does not read the parameter {unread[0]!r} itself: give the tensor that it reads."
        )
    wanted = [None if name is None else value for name, value in zip(met, tape.captured.tensors)]
    with torch.no_grad():
        found = sensitivities(tape, [z, None, None, None, *wanted])
    by_parameters = {name: z.new_zeros(*z.shape, *value.shape) for name, value in parameters.items()}
    for label, part in zip(met, found.parts[4:]):
        if label is not None and part is not None:
            by_parameters[label] = found.end[part].permute(1, 2, 0).reshape(*z.shape, *parameters[label].shape)
    return StateSensitivities(tape.record.z, found.end[:d].permute(1, 2, 0), by_parameters)

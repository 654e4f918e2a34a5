"""Diagnosis of a solve that failed: what was wrong with which state, when, and what to do about it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from tsode.core.status import Status
from tsode.numerics.base import Solver, VectorField
from tsode.numerics.failure import FirstFailure
from tsode.numerics.rosenbrock import Rosenbrock
from tsode.numerics.row_jacobian import linearise
from tsode.numerics.switching import Switching

__all__ = ["diagnose"]

_STIFF = 1e3  # turns of the fastest state, in what is solved, from which on it is a matter of stability


@torch.no_grad()
def diagnose(
    field: VectorField, row: int, status: Status, failure: FirstFailure, until: Tensor, n_steps: int, solver: Solver,
    names: Sequence[Hashable], when: str,
) -> str:  # fmt: skip
    """What happened to a row, and a remedy: the end of a sentence that begins with the name of the series.

    Parameters
    ----------
    row : int
        The row that failed, among all that the field is of.
    until : Tensor
        To when it was to go.
    names : sequence of label
        Of the states.
    when : str
        When it failed, in the words of its clock.
    """
    t, z, name = failure.t, failure.z, type(solver).__name__
    if status == Status.BLOW_UP:
        worst = int(z[row].abs().argmax())
        return (
            f"grows without bound at t = {when}, where {names[worst]!r} is {float(z[row, worst]):.3g}: end before it, "
            "or look for a wrong sign or unit in the field"
        )
    if status == Status.UNDEFINED:
        return f"came at t = {when} to where {_undefined(field, row, t, z, names)}"
    if status not in (Status.MAX_STEPS, Status.STIFF, Status.STEP_TOO_SMALL):
        return status.meaning
    rate, left = _fastest(field, row, t, z), float(until - t[row])
    speed = "" if rate is None else f"; the fastest rate there is {rate:.3g}"
    if status == Status.STEP_TOO_SMALL:
        return (
            f"asked at t = {when} for steps below the resolution of time{speed}. Its field jumps there, or changes too "
            "fast for this unit of time: make what jumps an event or a trigger, or loosen rtol and atol"
        )
    spent = f"spent its {n_steps} steps by t = {when}, with {left:.3g} units of time to go{speed}"
    is_implicit = isinstance(solver, Rosenbrock | Switching)
    if not is_implicit and (status == Status.STIFF or (rate is not None and rate * left > _STIFF)):
        return f'{spent}. It is stiff, and {name} takes short steps to stay stable: use solver="auto" or "rodas4"'
    return f"{spent}: raise max_steps of {name}, or loosen rtol and atol"


def _undefined(field: VectorField, row: int, t: Tensor, z: Tensor, names: Sequence[Hashable]) -> str:
    """Of which states the slope is not finite at the last state or, where it is finite there, just ahead of it."""
    slope = field(t, z)
    for share in (0.0, 1e-9, 1e-6, 1e-3):
        ahead = share * (1 + z[row].abs().max()) * slope[row].nan_to_num() / (1 + slope[row].nan_to_num().abs().max())
        moved = z.clone()
        moved[row] += ahead
        found = field(t, moved)[row]
        bad = (~found.isfinite()).nonzero()[:, 0].tolist()
        if bad:
            listed = ", ".join(f"{names[k]!r} ({float(found[k])})" for k in bad[:5]) + (", ..." if len(bad) > 5 else "")
            at = ", ".join(f"{name!r}: {value:.6g}" for name, value in list(zip(names, z[row].tolist()))[:8])
            return (
                f"the field is not finite in {listed}, the state being {{{at}}}: keep the arguments of its roots, "
                "logarithms and quotients in their range, for instance by clamp"
            )
    return "a step leaves the range of the field: keep the arguments of its roots, logarithms and quotients in it"


def _fastest(field: VectorField, row: int, t: Tensor, z: Tensor) -> float | None:
    """Magnitude of the largest eigenvalue of the Jacobian of a row; None where there is none."""
    try:
        jacobian = linearise(field, t, z)[1][row]
    except (RuntimeError, TypeError):  # a field that leaves PyTorch
        return None
    return float(torch.linalg.eigvals(jacobian).abs().max()) if jacobian.isfinite().all() else None

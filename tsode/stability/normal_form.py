"""Normal form of a Hopf point: its first Lyapunov coefficient by automatic derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.stability.flow import as_flow, derivative_along, read_states

__all__ = ["normal_form"]

IMAGINARY = 1e-5  # of the frequency: a real part below this is zero
DEGENERATE = 1e-8


@torch.no_grad()
def normal_form(system: Any, point: Any, *, t: float = 0.0, names: Sequence[str] | None = None) -> pd.Series:
    """First Lyapunov coefficient of a fixed point with one pair of imaginary eigenvalues (a Hopf point).

    With ``A q = i omega q``, ``A' p = -i omega p``, ``<q, q> = <p, q> = 1`` and the second and third derivatives B and
    C of the field (Kuznetsov 2004, eq. 5.34)::

        l1 = Re(<p, C(q, q, q*)> - 2 <p, B(q, A^-1 B(q, q*))> + <p, B(q*, (2 i omega - A)^-1 B(q, q))>) / (2 omega)

    Below zero the Hopf bifurcation is supercritical (a stable cycle is born), above it subcritical. The sign is that of
    the system; the size depends on the scaling of ``q``, which is the unit vector here.

    Parameters
    ----------
    system : callable, Dynamics or Solved
    point : array[d] or dict
        The fixed point, to a precision at which its pair of eigenvalues is imaginary.
    t : float
        Time at which a field that reads it is looked at.

    Returns
    -------
    Series
        ``first_lyapunov_coefficient``, ``omega`` (angular frequency, per unit of time), ``period`` (of the cycle that
        is born) and ``kind``: "supercritical", "subcritical" or "degenerate".

    Raises
    ------
    ParameterError
        If it is no fixed point, or has no imaginary pair, or others on the imaginary axis beside it.

    References
    ----------
    Kuznetsov, "Elements of Applied Bifurcation Theory", 3rd edition, 2004, section 5.4.

    Examples
    --------
    >>> import torch
    >>> from tsode.stability import normal_form
    >>> def brusselator(t, z, a=1.0, b=2.0):
    ...     x, y = z.unbind(1)
    ...     return torch.stack([a - (b + 1) * x + x**2 * y, b * x - x**2 * y], dim=1)
    >>> normal_form(brusselator, [1.0, 2.0])["kind"]
    'supercritical'
    """
    z = read_states(point)[:1]
    flow = as_flow(system, z.shape[1], names)
    if flow.is_map:
        raise ParameterError("The first Lyapunov coefficient is computed of fields only, but this is a map.")
    time = torch.full((1,), t, dtype=torch.float64)
    slope, jacobian = (x[0].numpy() for x in flow.linearise(time, z))
    size = np.abs(jacobian).max() * (1 + float(z.abs().max()))
    if np.abs(slope).max() > 1e-7 * size:
        raise ParameterError(f"The point is not a fixed one: its slope is {np.abs(slope).max():.3g}. See fixed_points.")
    values, vectors = np.linalg.eig(jacobian)
    turning = np.flatnonzero((values.imag > 0) & (np.abs(values.real) <= IMAGINARY * values.imag))
    neutral = np.flatnonzero(np.abs(values.real) <= IMAGINARY * np.abs(values).max())
    if len(turning) != 1 or len(neutral) != 2:
        shown = ", ".join(f"{x:.6g}" for x in values)
        raise ParameterError(
            f"A Hopf point has one pair of imaginary eigenvalues and no other on the axis, but these are {shown}: "
            "find the parameter at which the real part of the pair is zero."
        )
    i = int(turning[0])
    omega, q = float(values[i].imag), vectors[:, i] / np.linalg.norm(vectors[:, i])
    left_values, left = np.linalg.eig(jacobian.T)
    p = left[:, int(np.abs(left_values + 1j * omega).argmin())]
    p = p / np.conj(np.vdot(p, q))

    def field(x: Tensor) -> Tensor:
        return flow.slope(time, x[None])[0]

    def second(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return _multilinear(field, z[0], (u, v))

    bar, eye = q.conj(), np.eye(len(q))
    cubic = _multilinear(field, z[0], (q, q, bar))
    inner = second(q, np.linalg.solve(jacobian, second(q, bar)))
    outer = second(bar, np.linalg.solve(2j * omega * eye - jacobian, second(q, q)))
    coefficient = float((np.vdot(p, cubic) - 2 * np.vdot(p, inner) + np.vdot(p, outer)).real / (2 * omega))
    terms = (abs(np.vdot(p, cubic)) + 2 * abs(np.vdot(p, inner)) + abs(np.vdot(p, outer))) / (2 * omega)
    is_zero = abs(coefficient) <= DEGENERATE * max(terms, 1e-300)
    kind = "degenerate" if is_zero else "supercritical" if coefficient < 0 else "subcritical"
    found = {
        "first_lyapunov_coefficient": coefficient, "omega": omega, "period": 2 * np.pi / omega, "kind": kind,
    }  # fmt: skip
    return pd.Series(found)


def _multilinear(field: Callable[[Tensor], Tensor], z: Tensor, vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Derivative of order ``len(vectors)`` along complex vectors, by the real ones that they are made of."""
    total = np.zeros(len(z), dtype=complex)
    for choice in range(2 ** len(vectors)):
        factor, parts = 1.0 + 0.0j, []
        for j, vector in enumerate(vectors):
            is_imaginary = bool(choice >> j & 1)
            factor = factor * (1j if is_imaginary else 1.0)
            parts.append(torch.as_tensor(np.ascontiguousarray(vector.imag if is_imaginary else vector.real)))
        total += factor * _derivative(field, parts)(z).numpy()
    return total


def _derivative(field: Callable[[Tensor], Tensor], vectors: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
    """The field's derivative along all of `vectors`, as a function of the state."""
    if not vectors:
        return field
    inner = _derivative(field, vectors[1:])
    return lambda z: derivative_along(inner, z, vectors[0])

"""Derivatives of a vector field that its user has written down, and their comparison with the field."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tsode.errors import ParameterError, ShapeError
from tsode.numerics.base import VectorField, is_finite_row
from tsode.numerics.row_jacobian import linearise, load_rules

__all__ = ["GivenJacobian", "check_jacobian", "linearise_by"]

GivenJacobian = Callable[[Tensor, Tensor], Tensor | tuple[Tensor, Tensor]]
"""``(t, z) -> (b d d)``, or that and the derivative by the time (b d)."""

_CLOSE = 1e-3  # of the largest entry of a row: a wrong sign or index shows, an approximation by differences does not


def linearise_by(given: GivenJacobian, field: VectorField, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value, Jacobian and derivative by the time, as of `tsode.numerics.row_jacobian.linearise`."""
    found = given(t, z)
    if isinstance(found, tuple):
        return field(t, z), *found
    load_rules()
    value, by_time = torch.func.jvp(field, (t, z), (torch.ones_like(t), torch.zeros_like(z)))[:2]
    return value, found, by_time


def check_jacobian(given: GivenJacobian, field: VectorField, t: Tensor, z: Tensor, is_compared: bool) -> None:
    """Raise an error that names the entry unless what is given has the right shape and, compared, the field's values.

    A field that PyTorch cannot differentiate is not compared.
    """
    with torch.no_grad():
        found = given(t, z)
        parts = found if isinstance(found, tuple) else (found,)
        for part, shape, name in zip(parts, ((*z.shape, z.shape[1]), z.shape), ("jacobian", "its part by the time")):
            if not isinstance(part, Tensor) or part.shape != shape:
                came = f"shape {tuple(part.shape)}" if isinstance(part, Tensor) else f"a {type(part).__name__}"
                raise ShapeError(
                    f"jacobian(t, z) must give for z of shape {tuple(z.shape)} a tensor of shape {tuple(shape)} "
                    f"({name}), but gives {came}: entry [row, i, j] is the derivative of slope i by state j."
                )
        if not is_compared:
            return
        try:
            _, right, _ = linearise(field, t, z)
        except (RuntimeError, TypeError):  # it leaves PyTorch
            return
    off = (parts[0] - right).abs() > _CLOSE * right.abs().amax(dim=(1, 2), keepdim=True)
    off = off & (is_finite_row(right.flatten(1)) & is_finite_row(z))[:, None, None]
    if off.any():
        row, i, j = (int(place) for place in off.nonzero()[0])
        raise ParameterError(
            f"jacobian(t, z) is not that of the field: the derivative of slope {i} by state {j} is "
            f"{float(right[row, i, j]):.6g} in row {row} at t = {float(t[row]):.6g}, but given was "
            f"{float(parts[0][row, i, j]):.6g}. Entry [row, i, j] is that of slope i by state j; leave jacobian= "
            "out to have it by automatic differentiation, or take Ros34PW2, which an approximation serves."
        )

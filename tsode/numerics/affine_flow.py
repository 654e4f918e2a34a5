"""Exact solution of affine fields by the matrix exponential."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tsode.core.status import Status
from tsode.numerics.affine_field import AffineField
from tsode.numerics.base import Solution, Solver, VectorField, constant, is_finite_row

__all__ = ["AffineFlow"]

_MOST = 2**20  # numbers in the matrices that are worked out at once
_SMALL = 0.25  # a matrix of this norm needs twelve terms of the series: the thirteenth is nothing beside 1
_MOST_SQUARINGS = 60  # of a matrix of norm 1e17: rounding leaves nothing of what is said by more
_SMALL_PRODUCT = 400  # operations below which torch multiplies each matrix of a batch by plain loops
_ONE_OVER = [1.0 / math.factorial(k) for k in range(13)]


@dataclass(frozen=True)
class AffineFlow(Solver):
    """Exact flow of ``dz/dt = matrix @ z + offset``, however long the time and stiff the matrix.

    The state and the offset go through one matrix exponential, of ``[[matrix, offset], [0, 0]]`` times the length of
    the interval; without an offset it is that of the matrix alone.

    References
    ----------
    Van Loan, "Computing integrals involving the matrix exponential", IEEE Trans. Autom. Control 23, 1978.
    """

    order = 99
    field_type = AffineField

    def solve(self, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, gradient: object) -> Solution:
        assert isinstance(field, AffineField)
        end = _flow(field, z, (t1 - t0)[:, None])[:, 0]
        is_fine = is_finite_row(end) & is_finite_row(z)
        status = constant(z, Status.OK).where(is_fine, int(Status.NON_FINITE))
        return Solution(torch.where((is_fine & (t0 != t1))[:, None], end, z), status, (t0 != t1).long())

    def solve_to(
        self, field: VectorField, z: Tensor, t0: Tensor, times: Tensor, gradient: object, query_step: float
    ) -> Solution:
        assert isinstance(field, AffineField)
        width = max(1, _MOST // (z.shape[0] * (z.shape[1] + 1) ** 2))
        spans = (times - t0[:, None]).split(width, dim=1)
        states = torch.cat([_flow(field, z, span) for span in spans], dim=1)
        is_fine = is_finite_row(states.flatten(1))
        is_moved = (is_fine[:, None] & (times != t0[:, None]))[..., None]
        status = constant(z, Status.OK).where(is_fine, int(Status.NON_FINITE))
        return Solution(torch.where(is_moved, states, z[:, None]), status, constant(z, 1))


def _flow(field: AffineField, z: Tensor, spans: Tensor) -> Tensor:
    """States after `spans` (b m) of time, (b m d)."""
    if field.offset is None:
        return _product(_exponential(field.matrix[:, None] * spans[..., None, None].to(z)), z[:, None, :, None])[..., 0]
    generator = nn.functional.pad(torch.cat([field.matrix, field.offset[..., None]], dim=2), (0, 0, 0, 1))
    powers = _exponential(generator[:, None] * spans[..., None, None].to(z))
    return _product(powers[..., :-1, :-1], z[:, None, :, None])[..., 0] + powers[..., :-1, -1]


def _exponential(x: Tensor) -> Tensor:
    """Exponential of each matrix (... d d), by Taylor's series of a 2**-n of it, squared n times.

    Not `torch.linalg.matrix_exp`, of which the last bit depends on what other matrices there are.
    """
    if x.shape[-1] == 1:
        return x.exp()
    size = x.detach().abs().sum(dim=-1).amax(dim=-1)
    n = (size / _SMALL).clamp(min=1.0).log2().ceil()
    has_meaning = n <= _MOST_SQUARINGS  # which NaN has not
    n = n.where(has_meaning, 0.0)
    small, unit = x * torch.exp2(-n)[..., None, None], torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    square = _product(small, small)
    powers = torch.stack([unit.expand_as(small), small, square, _product(small, square), _product(square, square)])
    weights = x.new_tensor(_ONE_OVER)[:, *[None] * x.dim()]
    power = (weights[8:] * powers).sum(dim=0)  # the last five terms, by the eighth power
    for k in (4, 0):
        power = (weights[k : k + 4] * powers[:4]).sum(dim=0) + _product(powers[4], power)
    power = _squared(power.flatten(0, -3), n.flatten().long()).reshape(x.shape)
    return power.where(has_meaning[..., None, None], torch.nan)


def _squared(x: Tensor, n: Tensor) -> Tensor:
    """Each matrix (m d d) squared `n` (m,) times: side by side those of which more are left to do."""
    order = n.argsort(descending=True, stable=True)
    x, done = x.index_select(0, order), []
    for k in range(int(n.max()) if len(n) else 0):
        n_left = int((n > k).sum())
        x, over = x.split([n_left, len(x) - n_left])
        x = _product(x, x)
        done.append(over)
    return torch.cat([x, *reversed(done)]).index_select(0, order.argsort())


def _product(x: Tensor, y: Tensor) -> Tensor:
    """Product of matrices (... i j) and (... j k), each summed in the same order whatever there are besides."""
    if x.shape[-2] * x.shape[-1] * y.shape[-1] < _SMALL_PRODUCT:
        return x @ y
    return (x[..., None] * y[..., None, :, :]).sum(dim=-2)

"""Normals with exact sample moments: mean zero, the identity, and no correlation with an ensemble that is there."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["matched_normals"]


def matched_normals(members: Tensor, normals: Tensor) -> Tensor:
    """Turn normals (r m k) into some whose sample is exact beside an ensemble (r m d); see the module.

    What a sample has too much is projected off, column by column (Gram and Schmidt, twice: then it is off to rounding).
    That takes ``m - 1 >= d + k`` directions; with fewer members the normals are centred only. Directions in which the
    ensemble has no spread are none. It can be differentiated by the ensemble.

    References
    ----------
    Pham, "Stochastic methods for sequential data assimilation in strongly nonlinear systems", Monthly Weather Review
    129, 2001, section 3: second-order exact sampling.
    """
    m, d, k = members.shape[1], members.shape[2], normals.shape[2]
    if m - 1 < d + k:
        return normals - normals.mean(dim=1, keepdim=True)
    basis = torch.full_like(normals[..., :1], 1.0 / math.sqrt(m))
    for column in torch.cat([members, normals], dim=2).unbind(2):
        basis = torch.cat([basis, _direction(basis, column)[..., None]], dim=2)
    return math.sqrt(m - 1) * basis[..., 1 + d :]


def _direction(basis: Tensor, column: Tensor) -> Tensor:
    """Unit vector (r m) of what of a column lies outside a basis (r m j); zero where that is rounding."""
    centred = rest = column - column.mean(dim=1, keepdim=True)
    for _ in range(2):
        rest = rest - (basis @ (basis.mT @ rest[..., None])).squeeze(-1)
    square, size = rest.square().sum(dim=1, keepdim=True), centred.detach().square().sum(dim=1, keepdim=True)
    is_null = square.detach() <= _ROUNDING**2 * size
    return torch.where(is_null, 0.0, rest) * torch.where(is_null, 1.0, square).rsqrt()


_ROUNDING = 1e-13

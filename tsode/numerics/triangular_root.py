"""Triangular square roots of covariances that may be singular."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["triangular_root"]


def triangular_root(factor: Tensor) -> Tensor:
    """Lower triangle ``L`` (... d d) with ``L L' = W W'``, for a factor ``W`` (... d k) of any width and rank.

    Rows are made orthogonal one after the other (modified Gram and Schmidt), so that no square is ever formed: small
    variances beside large ones keep their digits, and a row that depends on those before it has a zero on the diagonal.
    It can be differentiated, there too, where the pivot is taken as fixed.

    References
    ----------
    Bierman, *Factorization Methods for Discrete Sequential Estimation*, 1977, section IV.4.
    """
    columns = []
    d = factor.shape[-2]
    rest, size = factor, factor.detach().square().sum(dim=-1)
    for i in range(d):
        row = rest[..., i, :]
        square = row.square().sum(dim=-1)
        # what is left of a row by rounding alone is nothing
        is_null = square.detach() <= _ROUNDING * size[..., i]
        pivot = torch.where(is_null, 1.0, square).sqrt()
        unit = row * torch.where(is_null, 0.0, 1.0 / pivot)[..., None]
        column = (rest @ unit[..., None]).squeeze(-1)
        columns.append(column)
        if i < d - 1:
            rest = rest - column[..., None] * unit[..., None, :]
    return torch.stack(columns, dim=-1).tril()


_ROUNDING = 1e-30  # of a squared length

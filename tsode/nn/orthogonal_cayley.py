"""Orthonormal columns as the Cayley transform of a skew matrix."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsode.nn.orthonormal import OrthonormalMatrix

__all__ = ["CayleyMatrix"]


class CayleyMatrix(OrthonormalMatrix):
    """First columns of ``(I + A)^-1 (I - A)`` with ``A = W - W'``: rotations without the eigenvalue -1.

    ``I + A`` has no singular value below 1. A Newton step towards the nearest orthogonal matrix takes off the rounding
    of the solve, which grows with ``|W|``.

    Parameters
    ----------
    n_rows : int
        ``W`` starts at random with eigenvalues of ``A`` of up to about 2, or at zero.
    n_columns : int, optional
        `n_rows` by default.
    start : {"random", "identity"}

    References
    ----------
    Helfrich, Willmott, Ye, "Orthogonal recurrent neural networks with scaled Cayley transform", ICML 2018.
    """

    def __init__(self, n_rows: int, n_columns: int | None = None, start: str = "random") -> None:
        super().__init__(n_rows, n_columns)
        self.weight = nn.Parameter(self.skew_start(start))

    @property
    def raw(self) -> nn.Parameter:
        return self.weight

    def exact(self, weight: Tensor) -> Tensor:
        skew, identity = weight - weight.mT, torch.eye(self.n_rows, dtype=weight.dtype, device=weight.device)
        rotation = torch.linalg.solve(identity + skew, (identity - skew)[:, : self.n_columns])
        return 1.5 * rotation - 0.5 * rotation @ (rotation.mT @ rotation)

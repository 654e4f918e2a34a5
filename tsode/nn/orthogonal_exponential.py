"""Orthonormal columns as the exponential of a skew matrix."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsode.nn.orthonormal import OrthonormalMatrix

__all__ = ["ExponentialMatrix"]


class ExponentialMatrix(OrthonormalMatrix):
    """First columns of ``exp(W - W')``, as `torch.nn.utils.parametrizations.orthogonal` has them, of determinant 1.

    The exponential is taken by squaring, whose rounding grows with ``|W|``; a Newton step towards the nearest
    orthogonal matrix, ``Q (3 I - Q'Q) / 2``, takes that off again.

    Parameters
    ----------
    n_rows : int
        ``W`` starts at random with eigenvalues of up to about 2, or at zero.
    n_columns : int, optional
        `n_rows` by default.
    start : {"random", "identity"}

    References
    ----------
    Lezcano-Casado, Martinez-Rubio, "Cheap orthogonal constraints in neural networks: a simple parametrization of the
    orthogonal and unitary group", ICML 2019.
    """

    def __init__(self, n_rows: int, n_columns: int | None = None, start: str = "random") -> None:
        super().__init__(n_rows, n_columns)
        self.weight = nn.Parameter(self.skew_start(start))

    @property
    def raw(self) -> nn.Parameter:
        return self.weight

    def exact(self, weight: Tensor) -> Tensor:
        rotation = torch.linalg.matrix_exp(weight - weight.mT)[:, : self.n_columns]
        return 1.5 * rotation - 0.5 * rotation @ (rotation.mT @ rotation)

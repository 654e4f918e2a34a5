"""Matrix whose columns are orthonormal whatever its weights: what a parametrisation of one promises."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from tsode.errors import ParameterError

__all__ = ["OrthonormalMatrix"]


class OrthonormalMatrix(nn.Module, ABC):
    """Family of matrices ``Q`` (n_rows n_columns) with ``Q'Q = I``, each from weights of its own without a constraint.

    A member promises this to rounding for all weights, so that nothing an optimiser does can break it. There is nothing
    to converge, and no state beside the weights: a copy, a file or a cast carries the promise along. The matrix is
    worked out in double precision and then rounded, lest a product of many single-precision factors drift.

    Parameters
    ----------
    n_rows : int
    n_columns : int, optional
        At most `n_rows`, which is the default.
    """

    def __init__(self, n_rows: int, n_columns: int | None = None) -> None:
        super().__init__()
        self.n_rows = n_rows
        self.n_columns = n_rows if n_columns is None else n_columns
        if not 1 <= self.n_columns <= n_rows:
            raise ParameterError(f"{self.n_columns} orthonormal columns do not fit into {n_rows} rows.")

    @abstractmethod
    def exact(self, weight: Tensor) -> Tensor:
        """The matrix from its weights in double precision."""

    @property
    @abstractmethod
    def raw(self) -> nn.Parameter:
        """Weights without a constraint."""

    def forward(self) -> Tensor:
        return self.exact(self.raw.double()).to(self.raw.dtype)

    def first_columns(self, like: Tensor) -> Tensor:
        """Columns of the identity (n_rows n_columns)."""
        return torch.eye(self.n_rows, self.n_columns, dtype=like.dtype, device=like.device)

    def skew_start(self, start: str) -> Tensor:
        """Weights (n_rows n_rows) whose skew part has eigenvalues of up to about 2, or zero: "random", "identity"."""
        if start not in ("random", "identity"):
            raise ParameterError(f"start={start!r} must be 'random' or 'identity'.")
        size = (2 * self.n_rows) ** -0.5 if start == "random" else 0.0
        return size * torch.randn(self.n_rows, self.n_rows)

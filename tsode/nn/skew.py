"""Square matrix that is skew-symmetric but for a damping of its diagonal."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsode.errors import ParameterError

__all__ = ["SkewMatrix"]


class SkewMatrix(nn.Module):
    """Matrix ``W - W' - damping I``: whatever ``W``, all eigenvalues have the real part ``-damping``.

    ``W - W'`` is skew to the last bit, for a difference changes its sign with its terms.

    Parameters
    ----------
    n : int
        At the start the eigenvalues spread over a disc of radius about 2.
    damping : float
        Zero or more.
    """

    def __init__(self, n: int, damping: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= damping < float("inf"):
            raise ParameterError(f"damping={damping!r} must be zero or more, and finite.")
        self.damping = damping
        self.weight = nn.Parameter(torch.randn(n, n) / (2 * n) ** 0.5)

    def forward(self) -> Tensor:
        matrix = self.weight - self.weight.mT
        if not self.damping:
            return matrix
        return matrix - self.damping * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)

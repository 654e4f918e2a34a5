"""Triangular roots of covariances that may be singular, with gradients."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["semidefinite_root"]


def semidefinite_root(cov: Tensor) -> Tensor:
    """Lower triangular ``F`` with ``F F' = cov`` (... d d); a coordinate that the earlier ones tell has a zero column.

    Cholesky's factor, column by column: it has a gradient where eigenvalues are equal or zero, which the root by
    eigenvectors has not. What is not finite gives a root that is not finite.

    Parameters
    ----------
    cov : Tensor[... d d]
        Positive semi-definite. Pivots below the rounding of their variance count as zero.

    Returns
    -------
    Tensor[... d d]

    References
    ----------
    Golub and Van Loan, "Matrix Computations", 4th edition, section 4.2.8 (without pivoting).

    Examples
    --------
    >>> import torch
    >>> semidefinite_root(torch.tensor([[4.0, 2.0], [2.0, 1.0]]))
    tensor([[2., 0.],
            [1., 0.]])
    """
    d = cov.shape[-1]
    rounding = 8.0 * d * torch.finfo(cov.dtype).eps * cov.detach().diagonal(dim1=-2, dim2=-1)
    left, columns = cov, []
    for j in range(d):
        pivot = left[..., 0, 0]
        is_told = pivot <= rounding[..., j]  # false where it is not a number
        column = left[..., :, 0] / torch.where(is_told, 1.0, pivot).sqrt()[..., None]
        column = torch.where(is_told[..., None], 0.0, column)
        columns.append(torch.cat([column.new_zeros(*column.shape[:-1], j), column], dim=-1))
        below = column[..., 1:]
        left = left[..., 1:, 1:] - below[..., :, None] * below[..., None, :]
    return torch.stack(columns, dim=-1)

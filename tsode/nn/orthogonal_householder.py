"""Orthonormal columns as a product of Householder reflections."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsode.errors import ParameterError
from tsode.nn.orthonormal import OrthonormalMatrix

__all__ = ["HouseholderMatrix"]


class HouseholderMatrix(OrthonormalMatrix):
    """First columns of ``H_1 H_2 ... H_k D`` with ``H = I - 2 v v' / v'v``, as in Mhammedi et al.

    ``k`` reflections have the determinant ``(-1)^k``; ``D`` is the identity but for a matrix given to start from. Only
    directions of the ``v`` count, so that a weight decay changes nothing, however small they become (at zero there is
    no reflection, and the columns are orthonormal all the same). All reflections are applied at once by the compact
    form ``I - V' T V`` with ``T^-1 = triu(VV', 1) + diag(VV') / 2`` (Joffrain et al.) for unit rows: products of
    matrices and a triangular solve instead of ``k`` steps.

    Parameters
    ----------
    n_rows : int
    n_columns : int, optional
        `n_rows` by default.
    n_reflections : int, optional
        Fewer cost less and reach fewer matrices. As many as columns, the default, reach all (of one determinant, if the
        matrix is square).
    start : Tensor[n_rows n_columns], optional
        Orthonormal columns to begin with, the identity for one; of as many reflections as columns. Random by default.

    References
    ----------
    Mhammedi, Hellicar, Rahman, Bailey, "Efficient orthogonal parametrisation of recurrent neural networks using
    Householder reflections", ICML 2017.
    Joffrain, Low, Quintana-Orti, van de Geijn, Van Zee, "Accumulating Householder transformations, revisited", ACM
    Transactions on Mathematical Software 32, 2006.
    """

    signs: Tensor

    def __init__(
        self, n_rows: int, n_columns: int | None = None, n_reflections: int | None = None, start: Tensor | None = None
    ) -> None:
        super().__init__(n_rows, n_columns)
        k = self.n_columns if n_reflections is None else n_reflections
        if k < 1 or (start is not None and k != self.n_columns):
            raise ParameterError(f"n_reflections={k} must be at least 1, and with a start {self.n_columns}.")
        vectors, signs = torch.randn(k, n_rows), torch.ones(self.n_columns)
        if start is not None:
            vectors, signs = _reflections(start, (n_rows, self.n_columns))
        self.vectors = nn.Parameter(vectors)
        self.register_buffer("signs", signs)

    @property
    def raw(self) -> nn.Parameter:
        return self.vectors

    def exact(self, weight: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(weight, dim=1, keepdim=True)
        unit = weight / length.clamp(min=torch.finfo(weight.dtype).tiny)
        inverse = (unit @ unit.mT).triu(1) + 0.5 * torch.eye(len(unit), dtype=unit.dtype, device=unit.device)
        carried = torch.linalg.solve_triangular(inverse, unit[:, : self.n_columns], upper=True)
        return (self.first_columns(unit) - unit.mT @ carried) * self.signs


def _reflections(matrix: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Vectors (k n) and signs (k) by which reflections make up a matrix with orthonormal columns."""
    n, k = shape
    rest = matrix.detach().double()
    if rest.shape != shape or not torch.allclose(rest.mT @ rest, torch.eye(k).to(rest), atol=1e-6):
        raise ParameterError(f"start must have the shape {shape} and orthonormal columns.")
    vectors, signs = rest.new_zeros(k, n), rest.new_ones(k)
    for j in range(k):
        column = rest[j:, j]
        signs[j] = -1.0 if column[0] >= 0 else 1.0
        vectors[j, j:] = column
        vectors[j, j] -= signs[j] * torch.linalg.vector_norm(column)  # away from it: nothing cancels
        v = vectors[j] / torch.linalg.vector_norm(vectors[j])
        rest = rest - 2.0 * torch.outer(v, v @ rest)
    return vectors.to(torch.get_default_dtype()), signs.to(torch.get_default_dtype())

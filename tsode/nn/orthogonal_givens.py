"""Orthonormal columns as layers of rotations of neighbouring coordinates."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tsode.errors import ParameterError
from tsode.nn.orthonormal import OrthonormalMatrix

__all__ = ["GivensMatrix"]


class GivensMatrix(OrthonormalMatrix):
    """First columns of a product of Givens rotations, tunable as in EUNN (Jing et al.), over the reals.

    Each layer turns pairs of coordinates by angles of their own: (0, 1), (2, 3) ... in even layers, (1, 2), (3, 4) ...
    in odd ones. Angles of zero are the identity, so that a weight decay leads there. The determinant is 1.

    Parameters
    ----------
    n_rows : int
    n_columns : int, optional
        `n_rows` by default.
    n_layers : int, optional
        A coordinate reaches `n_layers` neighbours to either side; as many as rows, the default, make up all rotations.
    start : {"random", "identity"}

    References
    ----------
    Jing et al., "Tunable efficient unitary neural networks (EUNN) and their application to RNNs", ICML 2017.
    """

    def __init__(
        self, n_rows: int, n_columns: int | None = None, n_layers: int | None = None, start: str = "random"
    ) -> None:
        super().__init__(n_rows, n_columns)
        n_layers = n_rows if n_layers is None else n_layers
        if n_layers < 1 or start not in ("random", "identity"):
            raise ParameterError(f"n_layers={n_layers} must be at least 1, start={start!r} 'random' or 'identity'.")
        turns = torch.rand(n_layers, n_rows // 2) if start == "random" else torch.zeros(n_layers, n_rows // 2)
        self.angles = nn.Parameter(2.0 * math.pi * turns)

    @property
    def raw(self) -> nn.Parameter:
        return self.angles

    def exact(self, weight: Tensor) -> Tensor:
        n, matrix = self.n_rows, self.first_columns(weight)
        turns = [_pairs(weight[layer::2], n, layer) for layer in (0, 1)]
        for layer in range(len(weight)):
            cosines, sines, partners = turns[layer % 2]
            matrix = cosines[layer // 2] * matrix + sines[layer // 2] * matrix[partners]
        return matrix


def _pairs(angles: Tensor, n: int, first: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines, signed sines (l n 1) and partners (n) of all coordinates in layers whose pairs begin at `first`."""
    n_pairs = (n - first) // 2
    each = angles[:, :n_pairs].repeat_interleave(2, dim=1)
    signs = torch.tensor([-1.0, 1.0], dtype=angles.dtype, device=angles.device).repeat(n_pairs)
    rest = n - first - 2 * n_pairs
    cosines = functional.pad(each.cos(), (first, rest), value=1.0)
    sines = functional.pad(signs * each.sin(), (first, rest))
    partners = torch.arange(n, device=angles.device)
    partners[first : first + 2 * n_pairs] = (
        partners[first : first + 2 * n_pairs].unflatten(0, (-1, 2)).flip(1).flatten()
    )
    return cosines[..., None], sines[..., None], partners

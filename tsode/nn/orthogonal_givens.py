"""Orthonormal columns as layers of rotations of neighbouring coordinates."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tsode.errors import ParameterError
from tsode.nn.orthonormal import OrthonormalMatrix

__all__ = ["GivensMatrix"]


class GivensMatrix(OrthonormalMatrix):
    """First columns of a product of Givens rotations, tunable as in EUNN (Jing et al., eq. 6), over the reals.

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
        cosines, sines = weight.cos(), weight.sin()
        matrix = self.first_columns(weight)
        for layer in range(len(weight)):
            first = layer % 2
            n_pairs = (self.n_rows - first) // 2
            last = first + 2 * n_pairs
            pairs = matrix[first:last].reshape(n_pairs, 2, self.n_columns)
            cosine, sine = cosines[layer, :n_pairs, None], sines[layer, :n_pairs, None]
            turned = torch.stack(
                [cosine * pairs[:, 0] - sine * pairs[:, 1], sine * pairs[:, 0] + cosine * pairs[:, 1]], dim=1
            )
            matrix = torch.cat([matrix[:first], turned.reshape(2 * n_pairs, self.n_columns), matrix[last:]])
        return matrix

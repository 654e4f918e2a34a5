"""A Gaussian belief over a state, and the time at which it holds."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tsode._checks import check_shapes

__all__ = ["Belief"]


@dataclass(frozen=True)
class Belief:
    """Normal distribution of the state of each row.

    Parameters
    ----------
    mean : Tensor[b d]
    cov : Tensor[b d d]
        Symmetric, positive semi-definite.
    time : Tensor[b], float64
        When the belief holds.
    """

    mean: Tensor
    cov: Tensor
    time: Tensor

    def __post_init__(self) -> None:
        check_shapes(mean=(self.mean, "b d"), cov=(self.cov, "b d d"), time=(self.time, "b"))

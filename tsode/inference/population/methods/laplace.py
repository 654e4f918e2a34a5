"""Laplace's approximation with exact second derivatives."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tsode.inference.population.methods.base import ByModes
from tsode.inference.population.subjects import Point, Subjects, hessian

__all__ = ["Laplace"]


@dataclass(frozen=True)
class Laplace(ByModes):
    """Laplace's approximation with the Hessian of the log density of the effects, for noise of every kind.

    References
    ----------
    Tierney and Kadane, "Accurate approximations for posterior moments and marginal densities", JASA 81, 1986.
    """

    name = "laplace"
    title = "Laplace's approximation by exact second derivatives"

    def objective(self, subjects: Subjects, point: Point, theta: Tensor) -> Tensor:
        return point.score

    def curvature(
        self, subjects: Subjects, point: Point, theta: Tensor, eta: Tensor, slope: Tensor, is_kept: bool
    ) -> Tensor:
        return -hessian(slope, eta, is_kept)

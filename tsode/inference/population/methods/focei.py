"""First-order conditional estimation with interaction."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tsode.inference.population.methods.base import LinearisedMethod, information
from tsode.inference.population.subjects import Point, Subjects, derivatives, normal_cells

__all__ = ["FOCEI"]


@dataclass(frozen=True)
class FOCEI(LinearisedMethod):
    """Laplace's approximation with the expected information, to which the noise's own dependence on effects counts.

    References
    ----------
    Wang, "Derivation of various NONMEM estimation methods", J. Pharmacokinet. Pharmacodyn. 34, 2007, eq. 29.
    """

    name = "focei"
    title = "FOCEI: Laplace's approximation by expected information"

    def objective(self, subjects: Subjects, point: Point, theta: Tensor) -> Tensor:
        return point.score

    def curvature(
        self, subjects: Subjects, point: Point, theta: Tensor, eta: Tensor, slope: Tensor, is_kept: bool
    ) -> Tensor:
        series = normal_cells(subjects.joint, self.name).series
        by_mean, by_log_sd = derivatives([point.mean, point.log_sd], eta, is_kept)
        return information(subjects, point.links, by_mean, by_log_sd, point.log_sd, series)

"""First-order conditional estimation without interaction."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tsode.inference.population.methods.base import LinearisedMethod, information, normal_score
from tsode.inference.population.subjects import Point, Subjects, derivatives, normal_cells

__all__ = ["FOCE"]


@dataclass(frozen=True)
class FOCE(LinearisedMethod):
    """As FOCEI, with the width of the noise that of the typical series, in the search for the modes too.

    References
    ----------
    Wang, "Derivation of various NONMEM estimation methods", J. Pharmacokinet. Pharmacodyn. 34, 2007, eq. 32.
    """

    name = "foce"
    title = "FOCE: Laplace's approximation by expected information, noise of the typical series"

    def objective(self, subjects: Subjects, point: Point, theta: Tensor) -> Tensor:
        return normal_score(subjects, point, self._log_sd(subjects, theta), normal_cells(subjects.joint, self.name))

    def curvature(
        self, subjects: Subjects, point: Point, theta: Tensor, eta: Tensor, slope: Tensor, is_kept: bool
    ) -> Tensor:
        series = normal_cells(subjects.joint, self.name).series
        (by_mean,) = derivatives([point.mean], eta, is_kept)
        return information(subjects, point.links, by_mean, None, self._log_sd(subjects, theta), series)

    def _log_sd(self, subjects: Subjects, theta: Tensor) -> Tensor:
        g, s, q = subjects.shape
        return subjects.at(theta, theta.new_zeros(g, theta.shape[1], s, q)).log_sd

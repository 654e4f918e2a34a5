"""First-order estimation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.inference.population.methods.base import Answer, Marginal, information, log_det, normal_score
from tsode.inference.population.subjects import Subjects, derivatives, normal_cells

__all__ = ["FO"]


@dataclass(frozen=True)
class FO(Marginal):
    """Predictions linearised in the effects about the typical series: then the effects integrate out exactly.

    References
    ----------
    Beal and Sheiner, "Estimating population kinetics", CRC Crit. Rev. Biomed. Eng. 8, 1982.
    """

    name = "fo"
    title = "FO: predictions linearised about the typical series"

    def check(self, subjects: Subjects) -> None:
        normal_cells(subjects.joint, self.name)

    def log_likelihood(self, subjects: Subjects, theta: Tensor, start: Tensor | None = None) -> Answer:
        g, s, q = subjects.shape
        cells = normal_cells(subjects.joint, self.name)
        has_gradient = torch.is_grad_enabled() and theta.requires_grad
        with torch.enable_grad():
            eta = theta.new_zeros(g, theta.shape[1], s, q).requires_grad_()
            point = subjects.at(theta, eta)
            (by_mean,) = derivatives([point.mean], eta, has_gradient)
            curvature = information(subjects, point.links, by_mean, None, point.log_sd, cells.series)
            error = point.links.freed((cells.values - point.mean) * (-point.log_sd).exp())
            weighted = point.links.freed(by_mean * (-point.log_sd).exp()[..., None])
            pull = subjects.by_subject(weighted * error[..., None], cells.series)
            # the quadratic form and determinant of J J' + V by those of I + J' V^-1 J
            gain = (pull * torch.linalg.solve(curvature, pull[..., None])[..., 0]).sum(dim=-1)
            value = normal_score(subjects, point, point.log_sd, cells) + 0.5 * gain - 0.5 * log_det(curvature)
        value = torch.where(point.is_fine, value, -torch.inf)
        found = Answer(value, point.log_prior, eta.detach(), torch.ones_like(point.is_fine))
        return found if has_gradient else Answer(*(x.detach() for x in found))

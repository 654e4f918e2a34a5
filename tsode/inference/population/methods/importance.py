"""Importance sampling of the marginal likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.stats import chi2
from torch import Tensor
from torch.quasirandom import SobolEngine

from tsode.inference.population.methods.base import Answer, Marginal
from tsode.inference.population.methods.nodes import integrate, place_laws
from tsode.inference.population.subjects import Subjects

__all__ = ["Importance"]


@dataclass(frozen=True)
class Importance(Marginal):
    """Mean over draws of the effects from Student's t about the individual mode, in units of the width there.

    The draws are the same for every subject and point, from a scrambled Sobol sequence, so that the value is a smooth
    function of the parameters.

    Parameters
    ----------
    n : int
        Draws.
    df : float
        Degrees of freedom.
    seed : int
    """

    name = "importance"
    title = "Integral by importance sampling"

    n: int = 512
    df: float = 5.0
    seed: int = 0

    def log_likelihood(self, subjects: Subjects, theta: Tensor, start: Tensor | None = None) -> Answer:
        q = subjects.shape[2]
        level = SobolEngine(q + 1, scramble=True, seed=self.seed).draw(self.n, dtype=torch.float64)
        level = level.clamp(1e-9, 1 - 1e-9)
        width = torch.from_numpy(chi2.ppf(level[:, q].numpy(), self.df))
        z = torch.special.ndtri(level[:, :q]) * (self.df / width).sqrt()[:, None]
        law = place_laws(subjects, theta, start)
        nodes = law.mean[:, :, None] + torch.einsum("gbsij,kj->gbksi", law.root, z)
        constant = math.lgamma(0.5 * (self.df + q)) - math.lgamma(0.5 * self.df) - 0.5 * q * math.log(self.df * math.pi)
        log_density = constant - 0.5 * (self.df + q) * (z.square().sum(dim=1) / self.df).log1p()
        log_weights = (-log_density - math.log(self.n))[:, None] + law.log_det_root[:, :, None]
        return integrate(subjects, theta, nodes, log_weights, law)

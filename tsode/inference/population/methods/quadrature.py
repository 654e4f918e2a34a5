"""Adaptive Gauss-Hermite quadrature over the effects."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.inference.population.methods.base import Answer, Marginal
from tsode.inference.population.methods.nodes import integrate, place_laws
from tsode.inference.population.subjects import Subjects

__all__ = ["Quadrature"]

MOST_EFFECTS = 3


@dataclass(frozen=True)
class Quadrature(Marginal):
    """Integral over the effects by a product rule about the individual mode, in units of the width there.

    Parameters
    ----------
    n : int
        Nodes along each effect.

    References
    ----------
    Pinheiro and Bates, "Approximations to the log-likelihood function in the nonlinear mixed-effects model", J. Comput.
    Graph. Stat. 4, 1995.
    """

    name = "quadrature"
    title = "Integral by adaptive Gauss-Hermite quadrature"

    n: int = 7

    def check(self, subjects: Subjects) -> None:
        q = subjects.shape[2]
        if q > MOST_EFFECTS:
            raise ParameterError(
                f"'quadrature' is for at most {MOST_EFFECTS} random effects, and there are {q}: take "
                "marginal='laplace' or 'importance'."
            )

    def log_likelihood(self, subjects: Subjects, theta: Tensor, start: Tensor | None = None) -> Answer:
        q = subjects.shape[2]
        node, weight = np.polynomial.hermite_e.hermegauss(self.n)
        z = torch.tensor(list(product(node, repeat=q)), dtype=torch.float64)
        weights = torch.tensor(list(product(weight, repeat=q)), dtype=torch.float64).prod(dim=1)
        law = place_laws(subjects, theta, start)
        nodes = law.mean[:, :, None] + torch.einsum("gbsij,kj->gbksi", law.root, z)
        half = 0.5 * z.square().sum(dim=1)
        log_weights = (weights.log() + half)[:, None] + law.log_det_root[:, :, None]
        return integrate(subjects, theta, nodes, log_weights, law)

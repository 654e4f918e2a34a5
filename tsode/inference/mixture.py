"""Mixtures of Student t laws, one a mode: drawn from evenly, with a density."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.special import chdtri
from torch import Tensor

from tsode.inference.modes import Modes
from tsode.inference.streams import Streams

__all__ = ["Mixture", "fitted", "laplace_mixture"]

DEGREES = 5.0
LEAST_SHARE = 0.05  # of the draws, dealt out evenly among the modes that count
PRIOR_DRAWS = 5.0  # that a fitted covariance leans on the one before, times the number of axes
NEGLIGIBLE = 15.0  # nats of mass below the best from which a mode does not count


@dataclass(frozen=True)
class Mixture:
    """Mixture of multivariate t laws (or normal ones, without degrees of freedom) for each problem.

    Parameters
    ----------
    weight : Tensor[g m]
        Sums to one; zero for laws that only fill up.
    location : Tensor[g m p]
    factor : Tensor[g m p p]
        Cholesky factor of the scale.
    degrees : float
        Degrees of freedom; infinity for normal laws.
    """

    weight: Tensor
    location: Tensor
    factor: Tensor
    degrees: float = DEGREES

    def select(self, problems: Tensor) -> Mixture:
        """The mixtures of some problems."""
        return Mixture(self.weight[problems], self.location[problems], self.factor[problems], self.degrees)

    def standard(self, u: Tensor) -> Tensor:
        """Points in the units of each law: (g b p) -> (g b m p)."""
        apart = (u[:, :, None] - self.location[:, None]).transpose(1, 2)  # (g m b p)
        return torch.linalg.solve_triangular(self.factor, apart.mT, upper=False).permute(0, 3, 1, 2)

    def parts(self, u: Tensor) -> Tensor:
        """Log density of each law times its weight: (g b p) -> (g b m)."""
        p, nu = u.shape[-1], self.degrees
        square = self.standard(u).square().sum(dim=-1)
        size = self.factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
        if math.isinf(nu):
            shape = -0.5 * (square + p * math.log(2.0 * math.pi))
        else:
            constant = math.lgamma(0.5 * (nu + p)) - math.lgamma(0.5 * nu) - 0.5 * p * math.log(nu * math.pi)
            shape = constant - 0.5 * (nu + p) * torch.log1p(square / nu)
        return shape + (self.weight.log() - size)[:, None]

    def log_prob(self, u: Tensor) -> Tensor:
        """Log density: (g b p) -> (g b)."""
        return self.parts(u).logsumexp(dim=-1)

    def sample(self, n: int, streams: Streams) -> Tensor:
        """Draws (g n p) that fill the space more evenly than independent ones."""
        g, m, p = self.location.shape
        points = streams.even(n, p + 2)
        law = torch.searchsorted(self.weight.cumsum(dim=1)[:, :-1].contiguous(), points[..., 0].contiguous())
        z = torch.special.ndtri(points[..., 2:])
        if not math.isinf(self.degrees):
            # chdtri is the inverse of the upper tail
            square = torch.from_numpy(chdtri(self.degrees, points[..., 1].numpy()))
            z = z / (square / self.degrees).sqrt()[..., None]
        every = torch.arange(g)[:, None]
        return self.location[every, law] + (self.factor[every, law] @ z[..., None]).squeeze(-1)


def laplace_mixture(modes: Modes, degrees: float = DEGREES) -> Mixture:
    """The mixture of Laplace's approximations at the modes, by their masses."""
    counts = (modes.log_mass > modes.log_mass[:, :1].amax(dim=1, keepdim=True) - NEGLIGIBLE) & modes.log_prob.isfinite()
    counts[:, 0] = True
    weight = modes.weight * counts
    weight = weight / weight.sum(dim=1, keepdim=True)
    even = counts / counts.sum(dim=1, keepdim=True)
    weight = (1.0 - LEAST_SHARE) * weight + LEAST_SHARE * even
    return Mixture(weight, modes.point, torch.linalg.cholesky(modes.covariance), degrees)


def fitted(law: Mixture, nodes: Tensor, log_weights: Tensor) -> Mixture:
    """A mixture moved to the weighted mean and covariance of what each of its laws answers for."""
    p = nodes.shape[-1]
    shares = torch.softmax(law.parts(nodes), dim=-1) * log_weights.exp()[..., None]  # (g k m)
    mass = shares.sum(dim=1)
    within = shares / mass.clamp(min=1e-300)[:, None]
    trust = 1.0 / within.square().sum(dim=1).clamp(min=1e-300)  # effective draws of each law
    trust = (trust / (trust + PRIOR_DRAWS * p)).where(mass > 0, 0.0)[..., None]
    mean = torch.einsum("gkm,gkp->gmp", within, nodes)
    location = law.location + trust * (mean - law.location)
    apart = nodes[:, :, None] - location[:, None]
    seen = torch.einsum("gkm,gkmp,gkmq->gmpq", within, apart, apart)
    before = law.factor @ law.factor.mT
    scale = before + trust[..., None] * (seen - before)
    used = law.weight > 0
    weight = ((1.0 - LEAST_SHARE) * mass + LEAST_SHARE * used / used.sum(dim=1, keepdim=True)).where(used, 0.0)
    factor, failed = torch.linalg.cholesky_ex(scale)
    return Mixture(
        weight / weight.sum(dim=1, keepdim=True),
        location,
        factor.where((failed == 0)[..., None, None], law.factor),
        law.degrees,
    )

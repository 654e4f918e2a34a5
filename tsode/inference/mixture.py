"""Mixtures of Student t laws, one a mode: drawn from evenly, with a density."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.special import chdtri
from torch import Tensor

from tsode.inference.modes import Modes
from tsode.inference.streams import Streams

__all__ = ["Mixture", "laplace_mixture", "nearest_modes"]

DEGREES = 5.0
LEAST_SHARE = 0.05  # of the draws, dealt out evenly among the modes that count
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

    def parts(self, u: Tensor) -> Tensor:
        """Log density of each law times its weight: (g b p) -> (g b m)."""
        return torch.stack([self._part(self.squares(u, law), law, u.shape[-1]) for law in self._laws()], dim=-1)

    def squares(self, u: Tensor, law: int) -> Tensor:
        """Squared distances from the middle of a law in its units: (g b p) -> (g b)."""
        apart = (u - self.location[:, law, None]).mT
        return torch.linalg.solve_triangular(self.factor[:, law], apart, upper=False).square().sum(dim=1)

    def _laws(self) -> range:
        return range(self.weight.shape[1])

    def _part(self, square: Tensor, law: int, p: int) -> Tensor:
        nu = self.degrees
        size = self.factor[:, law].diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
        if math.isinf(nu):
            shape = -0.5 * (square + p * math.log(2.0 * math.pi))
        else:
            constant = math.lgamma(0.5 * (nu + p)) - math.lgamma(0.5 * nu) - 0.5 * p * math.log(nu * math.pi)
            shape = constant - 0.5 * (nu + p) * torch.log1p(square / nu)
        return shape + (self.weight[:, law].log() - size)[:, None]

    def log_prob(self, u: Tensor) -> Tensor:
        """Log density: (g b p) -> (g b)."""
        return self.parts(u).logsumexp(dim=-1)

    def sample(self, n: int, streams: Streams) -> Tensor:
        """Draws (g n p) that fill the space more evenly than independent ones."""
        g, _, p = self.location.shape
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


def nearest_modes(modes: Modes, nodes: Tensor) -> Tensor:
    """The mode that each point (g k p) is nearest to in units of its width: (g k)."""
    law = laplace_mixture(modes)
    even = Mixture(torch.ones_like(law.weight), law.location, law.factor, law.degrees)
    return even.parts(nodes).masked_fill(~modes.log_prob.isfinite()[:, None], -torch.inf).argmax(dim=-1)

"""Density of what a population shares, with the effects of its series integrated out."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.inference.known_density import KnownDensity
from tsode.inference.population.methods.base import Answer, Marginal
from tsode.inference.population.subjects import Subjects, apart

__all__ = ["MarginalDensity"]

_AT_ONCE = 2**12  # subjects of a call, over all points


class MarginalDensity:
    """Log density of typical values, spreads and coefficients; a `tsode.inference.density.Density`.

    Parameters
    ----------
    joint : KnownDensity
        Of a system with random effects.
    method : Marginal
    """

    def __init__(self, joint: KnownDensity, method: Marginal) -> None:
        self.joint, self.method = joint, method
        self.subjects = Subjects(apart(joint))
        method.check(self.subjects)
        whole = Subjects(joint)
        self.names, self.n_problems, self.shared_places = whole.names, joint.n_problems, whole.shared_places

    def answer(self, theta: Tensor, start: Tensor | None = None) -> Answer:
        """What the method says of each series, in parts that fit into memory.

        Parameters
        ----------
        theta : Tensor[n b p]
            Coordinates of each series' own.
        start : Tensor[n b 1 q], optional
            Effects to begin the search at.
        """
        width = max(1, _AT_ONCE // len(theta))
        starts = [None] * theta.shape[1] if start is None else start.split(width, dim=1)
        found = [
            self.method.log_likelihood(self.subjects, part, at) for part, at in zip(theta.split(width, dim=1), starts)
        ]
        return Answer(*(torch.cat(parts, dim=1) for parts in zip(*found)))

    def log_prob(self, u: Tensor) -> Tensor:
        """Log prior and log marginal likelihood: (g b p) -> (g b)."""
        n_series = self.joint.space.n_series
        found = self.answer(u.repeat_interleave(n_series, dim=0))
        value = found.value[..., 0].unflatten(0, (-1, n_series))
        is_fine = value.detach().isfinite().all(dim=1)
        log_prior = found.log_prior.unflatten(0, (-1, n_series))[:, 0]
        total = torch.where(is_fine[:, None], value, 0.0).sum(dim=1) + log_prior
        return torch.where(is_fine & total.detach().isfinite(), total, -torch.inf)

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """Draws of the coordinates from the prior, (g n p)."""
        return self.joint.sample_prior(n, generator)[..., self.shared_places]

    def select(self, problems: Tensor) -> MarginalDensity:
        """The density of some problems, by their places."""
        return MarginalDensity(self.joint.select(problems), self.method)

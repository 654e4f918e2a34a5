"""Density of what is a series' own, given draws of what all series share."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.inference.known_density import KnownDensity
from tsode.inference.parameters import ParameterSpace

__all__ = ["OwnGivenShared"]


class OwnGivenShared:
    """Problems of series and draws: the likelihood of a series by its own parameters, times their prior.

    The integral of a problem's density is the probability of the series given its draw.

    Parameters
    ----------
    density : KnownDensity
        Of ``n`` series that are problems of their own.
    shared : Tensor[n k q]
        Draws of the coordinates that are shared; those of problem ``j k + i`` are the ``i``-th of series ``j``.
    """

    def __init__(self, density: KnownDensity, shared: Tensor) -> None:
        self.density, self.shared = density, shared
        space = density.space
        is_own = torch.tensor([name in space.own for name in space.priors])
        self.own_places, self.shared_places = is_own.nonzero()[:, 0], (~is_own).nonzero()[:, 0]
        self.names = tuple(name for name in space.priors if name in space.own)
        self.n_problems = shared.shape[0] * shared.shape[1]
        self._known = ParameterSpace(
            {name: prior for name, prior in space.priors.items() if name not in space.own}, {}, frozenset(),
            space.n_problems, 1, tuple(name for name in space.priors if name not in space.own),
        )  # fmt: skip

    def points(self, v: Tensor) -> Tensor:
        """Points (n kb p) of the whole space, of own coordinates (nk b o) and the draws of each problem."""
        n, k, q = self.shared.shape
        b = v.shape[1]
        parts = v.new_zeros(n, k * b, q + v.shape[2])
        parts = parts.index_copy(2, self.shared_places, self.shared.repeat_interleave(b, dim=1))
        return parts.index_copy(2, self.own_places, v.reshape(n, k * b, -1))

    def log_prob(self, v: Tensor) -> Tensor:
        """See `tsode.inference.density.Density`: (nk b o) -> (nk b)."""
        known = self._known.log_prior(self.shared).reshape(-1, 1)
        return self.density.log_prob(self.points(v)).reshape(v.shape[:2]) - known

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """Draws (nk n o), the same for every draw of what is shared."""
        draws = self.density.sample_prior(n, generator)[..., self.own_places]
        return draws.repeat_interleave(self.shared.shape[1], dim=0)

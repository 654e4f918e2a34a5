"""Gaussian beliefs: a mean and a square root of a covariance, which flow by a linearised motion."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.assimilation.filters.base import Ahead, Filter, where_rows
from tsode.assimilation.motion import Draws, Motion, Seen, Start
from tsode.assimilation.scalar_analysis import analyse
from tsode.evolutions.linear_sde import Transition
from tsode.numerics.semidefinite_root import semidefinite_root
from tsode.numerics.triangular_root import triangular_root

__all__ = ["GaussianBelief", "GaussianFilter"]


class GaussianBelief(NamedTuple):
    """Normal law of the state of each row.

    Parameters
    ----------
    mean : Tensor[r d]
    root : Tensor[r d d]
        ``root root'`` is the covariance.
    link : Tensor[r d d]
        Derivative of the mean by what it was when the belief was marked last, through flows and events since.
    """

    mean: Tensor
    root: Tensor
    link: Tensor


@dataclass(frozen=True)
class GaussianFilter(Filter[GaussianBelief]):
    """Family of filters whose belief is normal.

    The covariance is kept as a square root, and no square of it is formed, neither when it flows (Gram and Schmidt) nor
    when it is conditioned (Potter 1963; Bierman 1977, section V.3): noise of 1e-12 beside states of 1e6 leaves no
    negative variance.
    """

    def start(self, start: Start, motion: Motion, t: Tensor, draws: Draws) -> GaussianBelief:
        eye = torch.eye(start.mean.shape[1], dtype=start.mean.dtype)
        return GaussianBelief(start.mean, torch.diag_embed(start.sd), eye.expand(len(start.mean), -1, -1))

    def flow(
        self, belief: GaussianBelief, motion: Motion, t: Tensor, h: Tensor, draws: Draws, ahead: Ahead | None = None
    ) -> GaussianBelief:
        law = motion.transition(t, belief.mean, h)
        if motion.is_linear:
            mean = (law.phi @ belief.mean[..., None]).squeeze(-1) + law.shift
            columns = law.phi @ belief.root
        else:
            mean, columns = self._moved(belief, motion, law, t, h)
        noise = semidefinite_root(law.cov)
        after = GaussianBelief(mean, triangular_root(torch.cat([columns, noise], dim=-1)), law.phi @ belief.link)
        return where_rows(h != 0, after, belief)

    @abstractmethod
    def _moved(
        self, belief: GaussianBelief, motion: Motion, law: Transition, t: Tensor, h: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean (r d) after a step without noise, and columns (r d k) whose squares sum up to the covariance."""

    @abstractmethod
    def regressed(self, belief: GaussianBelief, seen: Seen) -> tuple[Tensor, Tensor, Tensor]:
        """Mean (r,) of a prediction, its regression (r d) on the columns of the root, and the variance beside (r,)."""

    def change(self, belief: GaussianBelief, factor: Tensor, shift: Tensor) -> GaussianBelief:
        return GaussianBelief(
            factor * belief.mean + shift, factor[..., None] * belief.root, factor[..., None] * belief.link
        )

    def observe(self, belief: GaussianBelief, seen: Seen, t: Tensor, draws: Draws) -> tuple[GaussianBelief, Tensor]:
        mean, slope, beside = self.regressed(belief, seen)
        explained = slope.square().sum(dim=1)
        found = analyse(seen, mean, explained + beside)
        var = explained + beside
        is_moved = seen.is_seen & (explained > 0)
        scale = torch.where(is_moved, var, 1.0)
        # share of the explained variance that is left: (var * beside + found.var * explained) / var^2, without the
        # difference of two large numbers
        left = (beside + found.var / scale * explained) / scale
        gain = (1.0 - torch.where(is_moved, left, 1.0).sqrt()) / torch.where(is_moved, explained, 1.0)
        moved = (belief.root @ slope[..., None]).squeeze(-1)
        after = GaussianBelief(
            belief.mean + moved * ((found.mean - mean) / scale)[:, None],
            belief.root - (gain[:, None] * moved)[..., None] * slope[:, None],
            belief.link,
        )
        return where_rows(is_moved, after, belief), found.log_evidence

    def mark(self, belief: GaussianBelief) -> GaussianBelief:
        return belief._replace(link=torch.eye(belief.mean.shape[1], dtype=belief.mean.dtype).expand_as(belief.link))

    def members(self, belief: GaussianBelief, n: int, t: Tensor, draws: Draws) -> Tensor:
        apart = draws.normal(_MEMBERS, t, n, belief.mean.shape[1])
        return belief.mean[:, None] + apart @ belief.root.mT


_MEMBERS = 1

"""Modes of posteriors: where they are, how wide, how heavy, and how many starts have come to each."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

__all__ = ["Modes", "Prior"]


@dataclass(frozen=True)
class Prior:
    """Draws of the prior and what they tell.

    Attributes
    ----------
    draws : Tensor[g n p]
    centre, scale : Tensor[g p]
        Median, and the standard deviation of the normal with the same quartiles: moments of heavy tails do not exist.
    share_failed : Tensor[g]
        Draws whose log posterior is not finite.
    """

    draws: Tensor
    centre: Tensor
    scale: Tensor
    share_failed: Tensor

    def select(self, problems: Tensor) -> Prior:
        """The priors of some problems."""
        return Prior(*(getattr(self, field.name)[problems] for field in fields(self)))


@dataclass(frozen=True)
class Modes:
    """Modes of each problem, the best first; a problem with fewer than others is filled up with log density -inf.

    Attributes
    ----------
    point : Tensor[g m p]
    log_prob : Tensor[g m]
    covariance : Tensor[g m p p]
        Inverse of the negative Hessian.
    n_starts : Tensor[g m], int64
        Starts that have come there.
    is_repaired : Tensor[g m], bool
        Whether the Hessian was not negative definite, so that directions without curvature got a width of the prior's.
    is_found : Tensor[g], bool
        Whether any start has come to a mode; otherwise the only "mode" is the best point there is.
    n_unfinished : Tensor[g], int64
        Starts that have come to none.
    relaxed : Tensor[g]
        Log density of the best that a search by segments has found with gaps that are all but closed; NaN without one.
    prior : Prior
    """

    point: Tensor
    log_prob: Tensor
    covariance: Tensor
    n_starts: Tensor
    is_repaired: Tensor
    is_found: Tensor
    n_unfinished: Tensor
    relaxed: Tensor
    prior: Prior

    @property
    def log_mass(self) -> Tensor:
        """Laplace's approximation of each mode's log mass, (g m)."""
        p = self.point.shape[-1]
        return self.log_prob + 0.5 * p * math.log(2.0 * math.pi) + 0.5 * torch.linalg.slogdet(self.covariance)[1]

    @property
    def weight(self) -> Tensor:
        """Share of each mode by Laplace's approximation, (g m)."""
        return torch.softmax(self.log_mass.nan_to_num(nan=-torch.inf, neginf=-1e300), dim=1)

    def select(self, problems: Tensor) -> Modes:
        """The modes of some problems."""
        kept = {field.name: getattr(self, field.name)[problems] for field in fields(self) if field.name != "prior"}
        return replace(self, prior=self.prior.select(problems), **kept)

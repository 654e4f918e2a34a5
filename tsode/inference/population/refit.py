"""Refits of a population: many climbs side by side from an estimate, of weighted series or with coordinates held."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.inference.population.estimate import Estimate
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.series_scores import series_scores
from tsode.numerics.quasi_newton import minimise

__all__ = ["Refitted", "first_metric", "refit"]

TOLERANCE = 1e-4  # nats that the next step promises
MOST = 60  # evaluations


class Refitted(NamedTuple):
    """Where climbs have come to.

    Parameters
    ----------
    theta : Tensor[b p]
    loss : Tensor[b]
        Negative log likelihood, of weighted series; infinite where there is none.
    is_done : Tensor[b], bool
        Which have come to an end by their own gradient.
    """

    theta: Tensor
    loss: Tensor
    is_done: Tensor


def first_metric(estimate: Estimate) -> Tensor:
    """Inverse of the curvature at the estimate (p p): by the Hessian, or by scores where that is not definite."""
    covariance = estimate.covariance
    if not bool(covariance.isnan().any()):
        return covariance
    scores = estimate.scores
    return torch.linalg.inv(scores.mT @ scores + torch.eye(scores.shape[1], dtype=scores.dtype))


def refit(
    density: MarginalDensity,
    estimate: Estimate,
    start: Tensor,
    inverse: Tensor,
    weights: Tensor | None = None,
    is_held: Tensor | None = None,
    tell: Callable[[int], None] = lambda n_left: None,
) -> Refitted:
    """Maximise likelihoods by quasi-Newton steps, all rows at once; a row's way does not depend on the others.

    Parameters
    ----------
    density : MarginalDensity
        Of one problem.
    estimate : Estimate
        Whose individual modes the search begins at.
    start : Tensor[b p]
    inverse : Tensor[b p p]
        Of the curvature at the start, about.
    weights : Tensor[b n], optional
        Of the series, 1 by default; those of weight 0 have no part.
    is_held : Tensor[b p], bool, optional
        Coordinates that stay where they start.
    tell : callable
        Told how many rows still climb.
    """
    n = density.subjects.shape[0]
    weights = torch.ones(len(start), n, dtype=torch.float64) if weights is None else weights
    modes = estimate.eta[:, None, None].repeat(1, len(start), 1, 1)
    held = torch.zeros_like(start, dtype=torch.bool) if is_held is None else is_held
    # no step, slope or change along what is held: then updates of the metric leave it so
    free = (~held).to(start)
    metric = inverse * free[:, :, None] * free[:, None, :]

    def evaluate(points: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        tell(len(places))
        at = modes[:, places]
        value, slope, _ = series_scores(density, points, at)
        modes[:, places] = at
        share = weights[places].T
        is_fine = (value.isfinite() | (share == 0)).all(dim=0)
        total = -torch.where(share > 0, share * value, 0.0).sum(dim=0)
        descent = -(share[..., None] * slope).sum(dim=0) * free[places]
        return torch.where(is_fine, total, torch.inf), torch.where(is_fine[:, None], descent, torch.nan)

    return Refitted(*minimise(evaluate, start, MOST, TOLERANCE, metric))

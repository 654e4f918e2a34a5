"""Scores of series: log marginal likelihoods at some points, and their exact derivatives."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods.base import Answer

__all__ = ["observed_information", "series_scores"]

STEP = 0.02  # of differences of gradients, in standard errors


def series_scores(density: MarginalDensity, points: Tensor, modes: Tensor) -> tuple[Tensor, Tensor, Answer]:
    """Log likelihoods (n k) and slopes (n k p) of series at shared coordinates, and what the method has said.

    Parameters
    ----------
    density : MarginalDensity
        Of one problem.
    points : Tensor[k p]
    modes : Tensor[n k 1 q]
        Effects to begin the search for the most probable ones at; those that are found take their place.
    """
    at = points.detach().expand(len(modes), *points.shape).clone().requires_grad_()
    with torch.enable_grad():
        found = density.answer(at, modes)
        value = found.value[..., 0]
        is_fine = value.detach().isfinite()
        (slope,) = torch.autograd.grad(value.where(is_fine, 0.0).sum(), at)
    modes.copy_(found.eta.detach().where(is_fine[..., None, None], modes))
    return value.detach(), slope, found


def observed_information(density: MarginalDensity, theta: Tensor, slope: Tensor, modes: Tensor) -> Tensor:
    """Negative Hessian (p p) of the log likelihood, by differences of exact gradients with modes found anew.

    Parameters
    ----------
    density : MarginalDensity
        Of one problem.
    theta : Tensor[p]
    slope : Tensor[n p]
        Scores of the series there: a step is a part of each coordinate's own width.
    modes : Tensor[n 1 1 q]
    """
    step = torch.diag_embed(STEP / slope.square().sum(dim=0).sqrt().clamp(min=1.0))
    around = torch.cat([theta + step, theta - step])
    _, slopes, _ = series_scores(density, around, modes.repeat(1, len(around), 1, 1))
    up, down = slopes.sum(dim=0).chunk(2)
    hessian = -(up - down) / (2.0 * step.diagonal()[:, None])
    return 0.5 * (hessian + hessian.mT)

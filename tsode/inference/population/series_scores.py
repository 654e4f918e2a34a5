"""Scores of series: log marginal likelihoods at some points, and their exact derivatives."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods.base import Answer

__all__ = ["series_scores"]


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

"""Posterior of an expert's parameters, as a few moves of them: what they leave unknown of its forecasts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from tsode.models.linear.rate_classes import RateClasses

__all__ = ["leading_moves", "moved"]

N_MOVES = 4  # kept: a forecast of each is what a question of the spread costs


def moved(model: RateClasses, moves: Tensor) -> Iterator[RateClasses]:
    """The model with its parameters moved, by each row of (s d) in turn."""
    found = parameters_to_vector(model.parameters()).detach()
    other = copy.deepcopy(model)
    for move in moves:
        vector_to_parameters(found + move.to(found), other.parameters())
        yield other


@torch.no_grad()
def leading_moves(model: RateClasses, draws: Tensor, means_of: Callable[[RateClasses], Tensor]) -> Tensor:
    """A few moves (s d) of the parameters whose squared effects on means sum to about what their posterior makes of it.

    They are combinations of draws, by the singular vectors of the draws' effects on some means: orthogonal there, the
    largest first. What the others had is made up for by a factor.

    Parameters
    ----------
    model : RateClasses
    draws : Tensor[r d]
        Of the posterior, less its mode.
    means_of : callable
        Model -> means of its forecasts (k) of some values.
    """
    middle = means_of(model)
    apart = torch.stack([means_of(other) - middle for other in moved(model, draws)])
    apart, draws = (x[apart.isfinite().all(dim=1)] for x in (apart, draws))
    left, sizes, _ = torch.linalg.svd(apart, full_matrices=False)
    kept = sizes[:N_MOVES].square().sum()
    if not float(kept) > 0.0:
        return draws[:0]
    made_up = (sizes.square().sum() / kept / len(draws)).sqrt()
    return made_up * left[:, :N_MOVES].mT @ draws

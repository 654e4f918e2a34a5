"""Given errors: what is known beforehand of the noise of each observation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tsode.core.transforms import Transform

__all__ = ["GivenErrors", "noise_of_errors"]


class GivenErrors(NamedTuple):
    """Where the standard errors of a channel stand, and what those to come are taken to be.

    Parameters
    ----------
    place : int
        Of their column among those that are read.
    ahead : float
        Variance of the noise that an observation to come is taken to have beside what was fitted, in variances of the
        series: the median of those given.
    """

    place: int
    ahead: float


def noise_of_errors(errors: Tensor, values: Tensor, transform: Transform, spread: float) -> Tensor:
    """Variances of standardised values with these standard errors; of those that have none (NaN), 0."""
    slope = transform.log_slope(values).exp() / spread
    return torch.where(errors.isnan(), 0.0, errors * slope) ** 2

"""Changepoints: steps and kinks of the trend at given times, as features of time with coefficients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["change_features"]

KINK = 5.0  # standard deviations a span, that a slope with a coefficient of 1 changes by


def change_features(times: Tensor, changes: Sequence[float], span: float) -> Tensor:
    """Step and kink at each changepoint: Tensor[... 2k] at times (...), both in model time.

    A step has been taken at its own time. Coefficients are of order one where values have standard deviation 1.
    """
    since = (times.double()[..., None] - torch.tensor(tuple(changes), dtype=torch.float64)) / span
    return torch.cat([(since >= 0.0).double(), KINK * since.clamp(min=0.0)], dim=-1)

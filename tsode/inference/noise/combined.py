"""Combined noise: a part that does not depend on the prediction, and one in proportion to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.inference.noise.base import Noise
from tsode.likelihoods.normal import Normal

__all__ = ["CombinedNoise"]


@dataclass(frozen=True)
class CombinedNoise(Noise):
    """Normal noise of variance ``sd ** 2 + (cv * prediction) ** 2``: variances are summed, not standard deviations."""

    family = Normal()
    numbers = ("sd", "cv")
    sd: str | float
    cv: str | float

    def params(self, mean: Tensor, own: Mapping[str, Tensor]) -> Tensor:
        variance = own["sd"].square() + (own["cv"] * mean).square()
        return torch.stack([mean, 0.5 * variance.log()], dim=-1)

"""Proportional noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.inference.noise.base import Noise
from tsode.likelihoods.normal import Normal

__all__ = ["ProportionalNoise"]


@dataclass(frozen=True)
class ProportionalNoise(Noise):
    """Normal noise whose standard deviation is `cv` times the size of the prediction.

    Where the prediction is 0, within the error of the solver, there is no noise and a value has no density: such a
    point is impossible. `CombinedNoise` has a width there.
    """

    family = Normal()
    numbers = ("cv",)
    cv: str | float

    def params(self, mean: Tensor, own: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([mean, own["cv"].log() + mean.abs().log()], dim=-1)

    def is_possible(self, mean: Tensor, tolerance: Tensor) -> Tensor:
        return (mean.abs() > tolerance) & mean.isfinite()

"""Poisson noise of counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tsode.inference.noise.base import Noise
from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.poisson import Poisson

__all__ = ["PoissonNoise"]


@dataclass(frozen=True)
class PoissonNoise(Noise):
    """Counts whose mean is the prediction.

    A prediction that is negative by no more than the error of the solver counts as that error; one that is really
    negative is impossible.
    """

    family: ClassVar[Likelihood] = Poisson()
    support = "counts 0, 1, 2, ..."

    def params(self, mean: Tensor, own: Mapping[str, Tensor]) -> Tensor:
        return mean.log()[..., None]

    def is_possible(self, mean: Tensor, tolerance: Tensor) -> Tensor:
        return (mean >= -tolerance) & mean.isfinite()

    def held(self, mean: Tensor, tolerance: Tensor) -> Tensor:
        return torch.maximum(mean, tolerance)

    def is_supported(self, values: Tensor) -> Tensor:
        return (values >= 0) & (values == values.floor()) & values.isfinite()

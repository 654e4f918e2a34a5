"""Log-normal noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.inference.noise.base import Noise
from tsode.likelihoods.log_normal import LogNormal

__all__ = ["LogNormalNoise"]


@dataclass(frozen=True)
class LogNormalNoise(Noise):
    """Normal noise of standard deviation `sd` about the logarithm of the prediction, which is the median.

    A prediction that is negative by no more than the error of the solver counts as that error; one that is really
    negative is impossible.
    """

    family = LogNormal()
    numbers = ("sd",)
    support = "numbers above 0"
    sd: str | float

    def params(self, mean: Tensor, own: Mapping[str, Tensor]) -> Tensor:
        return torch.stack(torch.broadcast_tensors(mean.log(), own["sd"].log()), dim=-1)

    def is_possible(self, mean: Tensor, tolerance: Tensor) -> Tensor:
        return (mean >= -tolerance) & mean.isfinite()

    def held(self, mean: Tensor, tolerance: Tensor) -> Tensor:
        return torch.maximum(mean, tolerance)

    def is_supported(self, values: Tensor) -> Tensor:
        return (values > 0) & values.isfinite()

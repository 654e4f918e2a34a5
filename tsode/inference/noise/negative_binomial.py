"""Negative binomial noise of counts that scatter more than Poisson counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.inference.noise.poisson import PoissonNoise
from tsode.likelihoods.negative_binomial import NegativeBinomial

__all__ = ["NegativeBinomialNoise"]


@dataclass(frozen=True)
class NegativeBinomialNoise(PoissonNoise):
    """Counts whose mean is the prediction, with variance ``mean + mean ** 2 / size``."""

    family = NegativeBinomial()
    numbers = ("size",)
    size: str | float

    def params(self, mean: Tensor, own: Mapping[str, Tensor]) -> Tensor:
        return torch.stack(torch.broadcast_tensors(mean.log(), own["size"].log()), dim=-1)

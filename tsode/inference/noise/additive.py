"""Additive noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.inference.noise.base import Noise
from tsode.likelihoods.normal import Normal

__all__ = ["AdditiveNoise"]


@dataclass(frozen=True)
class AdditiveNoise(Noise):
    """Normal noise of standard deviation `sd` about the prediction."""

    family = Normal()
    numbers = ("sd",)
    sd: str | float

    def params(self, mean: Tensor, own: Mapping[str, Tensor]) -> Tensor:
        return torch.stack(torch.broadcast_tensors(mean, own["sd"].log()), dim=-1)

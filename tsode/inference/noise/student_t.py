"""Student-t noise, for values among which some lie far out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.inference.noise.base import Noise
from tsode.likelihoods.free_student_t import FreeStudentT

__all__ = ["StudentTNoise"]


@dataclass(frozen=True)
class StudentTNoise(Noise):
    """Student's t noise of scale `scale`, not its standard deviation, and `df` degrees of freedom."""

    family = FreeStudentT()
    numbers = ("scale", "df")
    scale: str | float
    df: str | float

    def params(self, mean: Tensor, own: Mapping[str, Tensor]) -> Tensor:
        return torch.stack(torch.broadcast_tensors(mean, own["scale"].log(), own["df"].log()), dim=-1)

"""Ornstein-Uhlenbeck parts: rough departures that are forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

import torch
from torch import Tensor

from tsode.kernels.paired_filter import PairedSteps
from tsode.models.structural.component import Component, DataScale, Prior, decayed

__all__ = ["LongOrnsteinUhlenbeck", "OrnsteinUhlenbeck"]


@dataclass(frozen=True)
class OrnsteinUhlenbeck(Component):
    """Ornstein-Uhlenbeck process, an autoregression in continuous time: covariance ``variance exp(-gap / time)``.

    It is expected to remember for some observations.
    """

    name: str = "ou"

    n_states: ClassVar[int] = 1  # type: ignore[assignment]
    readout: ClassVar[tuple[float, ...]] = (1.0,)  # type: ignore[assignment]

    def priors(self, scale: DataScale) -> dict[str, Prior]:
        return {"variance": Prior(0.1, 1.5), "time": Prior(sqrt(0.2 * scale.gap), 1.5)}

    def steps(self, gap: Tensor, **parameters: Tensor) -> PairedSteps:
        x = (gap / parameters["time"])[..., None]
        variance = parameters["variance"][..., None] * decayed(2.0 * x)
        return PairedSteps((-x).exp(), torch.zeros_like(x), variance, variance[..., :0])

    def start(self, **parameters: Tensor) -> Tensor:
        return parameters["variance"][..., None]


@dataclass(frozen=True)
class LongOrnsteinUhlenbeck(OrnsteinUhlenbeck):
    """The same, expected to remember for a tenth of the span."""

    name: str = "long_ou"

    def priors(self, scale: DataScale) -> dict[str, Prior]:
        return {"variance": Prior(0.5, 1.5), "time": Prior(0.1, 1.5)}

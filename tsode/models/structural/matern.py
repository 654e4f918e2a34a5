"""Matern part of order 3/2: smooth departures that are forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

import torch
from torch import Tensor

from tsode.kernels.paired_filter import PairedSteps
from tsode.models.structural.component import Component, DataScale, Prior, decayed

__all__ = ["Matern"]

SMALL = 0.1
TERMS = 14  # of a series in 2 x <= 0.2


@dataclass(frozen=True)
class Matern(Component):
    """Matern process of order 3/2, once differentiable: covariance ``variance (1 + x) exp(-x)``, ``x = gap / time``.

    The second state is the derivative in units of ``time``.
    """

    name: str = "matern"

    n_states: ClassVar[int] = 2  # type: ignore[assignment]
    readout: ClassVar[tuple[float, ...]] = (1.0, 0.0)  # type: ignore[assignment]

    def priors(self, scale: DataScale) -> dict[str, Prior]:
        return {"variance": Prior(0.2, 1.5), "time": Prior(sqrt(0.2 * scale.gap), 1.5)}

    def steps(self, gap: Tensor, **parameters: Tensor) -> PairedSteps:
        x = gap / parameters["time"]
        variance, decay = parameters["variance"], (-x).exp()
        rest = decayed(2.0 * x)
        twice = (-2.0 * x).exp()
        return PairedSteps(
            torch.stack([decay * (1.0 + x), decay * (1.0 - x)], dim=-1),
            torch.stack([decay * x, -decay * x], dim=-1),
            variance[..., None] * torch.stack([_value_noise(x), rest + twice * 2.0 * x * (1.0 - x)], dim=-1),
            (variance * 2.0 * x**2 * twice)[..., None],
        )

    def start(self, **parameters: Tensor) -> Tensor:
        return parameters["variance"][..., None].expand(-1, 2)


def _value_noise(x: Tensor) -> Tensor:
    """``1 - exp(-2 x) (1 + 2 x + 2 x^2)``, whose terms cancel for small x: then the tail of the exponential series."""
    y = 2.0 * x
    small, large = y.clamp(max=2 * SMALL), y.clamp(min=2 * SMALL)
    tail = torch.zeros_like(y)
    for k in range(TERMS, 3, -1):
        tail = (tail + 1.0) * small / k
    series = (-small).exp() * small**3 / 6.0 * (1.0 + tail)
    return torch.where(x < SMALL, series, 1.0 - (-large).exp() * (1.0 + large + large**2 / 2.0))

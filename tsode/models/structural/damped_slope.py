"""Level with a slope that dies away: the integral of an Ornstein-Uhlenbeck process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tsode.kernels.paired_filter import PairedSteps
from tsode.models.structural.component import FLAT, Component, DataScale, Prior, decayed

__all__ = ["DampedSlope"]

# of (x - 2 e + (1 - exp(-2 x)) / 2) / x^3 with e = 1 - exp(-x), whose terms cancel for small x
SERIES = (1 / 3, -1 / 4, 7 / 60, -1 / 24, 31 / 2520, -1 / 320, 127 / 181440)
SMALL = 0.1


@dataclass(frozen=True)
class DampedSlope(Component):
    """Damped slope, ``d level = slope dt``, ``d slope = -damping slope dt + sqrt(rate) dW``."""

    name: str = "damped_slope"

    role: ClassVar[str] = "trend"
    n_states: ClassVar[int] = 2  # type: ignore[assignment]
    readout: ClassVar[tuple[float, ...]] = (1.0, 0.0)  # type: ignore[assignment]

    def priors(self, scale: DataScale) -> dict[str, Prior]:
        return {"rate": Prior(1.0, 3.0), "damping": Prior(3.0, 1.0)}

    def steps(self, gap: Tensor, **parameters: Tensor) -> PairedSteps:
        rate, damping = parameters["rate"], parameters["damping"]
        x = damping * gap
        e = decayed(x)
        none = torch.zeros_like(x)
        return PairedSteps(
            torch.stack([torch.ones_like(x), (-x).exp()], dim=-1),
            torch.stack([e / damping, none], dim=-1),
            torch.stack([rate * gap**3 * _shape(x), rate * decayed(2.0 * x) / (2.0 * damping)], dim=-1),
            (rate * (e / damping) ** 2 / 2.0)[..., None],
        )

    def start(self, **parameters: Tensor) -> Tensor:
        return torch.full_like(parameters["rate"], FLAT)[..., None].expand(-1, 2)


def _shape(x: Tensor) -> Tensor:
    """Variance of the level's noise by ``rate gap^3``."""
    small, large = x.clamp(max=SMALL), x.clamp(min=SMALL)
    series = torch.zeros_like(x)
    for coefficient in reversed(SERIES):
        series = series * small + coefficient
    closed = (large - 2.0 * decayed(large) + decayed(2.0 * large) / 2.0) / large**3
    return torch.where(x < SMALL, series, closed)

"""Level with a slope that wanders: an integrated Brownian motion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tsode.kernels.paired_filter import PairedSteps
from tsode.models.structural.component import FLAT, Component, DataScale, Prior

__all__ = ["Slope"]


@dataclass(frozen=True)
class Slope(Component):
    """Integrated Brownian motion, ``d level = slope dt``, ``d slope = sqrt(rate) dW`` (Wahba 1978: a cubic spline)."""

    name: str = "slope"

    role: ClassVar[str] = "trend"
    n_states: ClassVar[int] = 2  # type: ignore[assignment]
    readout: ClassVar[tuple[float, ...]] = (1.0, 0.0)  # type: ignore[assignment]

    def priors(self, scale: DataScale) -> dict[str, Prior]:
        return {"rate": Prior(1.0, 3.0)}

    def steps(self, gap: Tensor, **parameters: Tensor) -> PairedSteps:
        rate = parameters["rate"]
        gap = gap.expand(torch.broadcast_shapes(gap.shape, rate.shape))
        one, none = torch.ones_like(gap), torch.zeros_like(gap)
        return PairedSteps(
            torch.stack([one, one], dim=-1),
            torch.stack([gap, none], dim=-1),
            torch.stack([rate * gap**3 / 3.0, rate * gap], dim=-1),
            (rate * gap**2 / 2.0)[..., None],
        )

    def start(self, **parameters: Tensor) -> Tensor:
        return torch.full_like(parameters["rate"], FLAT)[..., None].expand(-1, 2)

"""Level that wanders: a Brownian motion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tsode.kernels.paired_filter import PairedSteps
from tsode.models.structural.component import FLAT, Component, DataScale, Prior

__all__ = ["Level"]


@dataclass(frozen=True)
class Level(Component):
    """Brownian level, ``d level = sqrt(rate) dW``.

    Parameters
    ----------
    known_start : bool
        Whether it starts at zero, as beside a slope, which has a level of its own.
    """

    known_start: bool = False
    name: str = "level"

    role: ClassVar[str] = "trend"
    n_states: ClassVar[int] = 1  # type: ignore[assignment]
    readout: ClassVar[tuple[float, ...]] = (1.0,)  # type: ignore[assignment]

    def priors(self, scale: DataScale) -> dict[str, Prior]:
        return {"rate": Prior(0.1 * scale.roughness / scale.gap, 2.5)}

    def steps(self, gap: Tensor, **parameters: Tensor) -> PairedSteps:
        variance = (parameters["rate"] * gap)[..., None]
        return PairedSteps(torch.ones_like(variance), torch.zeros_like(variance), variance, variance[..., :0])

    def start(self, **parameters: Tensor) -> Tensor:
        return torch.full_like(parameters["rate"], 0.0 if self.known_start else FLAT)[..., None]

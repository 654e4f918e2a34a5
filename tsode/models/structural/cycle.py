"""Cycle: a rotation whose phase and amplitude are forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import ClassVar

import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.kernels.paired_filter import PairedSteps
from tsode.models.structural.component import Component, DataScale, Prior, decayed

__all__ = ["Cycle"]


@dataclass(frozen=True)
class Cycle(Component):
    """Stochastic cycle (Harvey 1989): covariance ``variance exp(-gap / (coherence period)) cos(2 pi gap / period)``.

    Parameters
    ----------
    period : float
        Where the period is expected, in spans of the data.
    period_sd : float
        Of the logarithm of the period.
    """

    period: float
    period_sd: float = 0.3
    name: str = "cycle"

    role: ClassVar[str] = "cycle"
    has_own_period: ClassVar[bool] = True
    n_states: ClassVar[int] = 2  # type: ignore[assignment]
    readout: ClassVar[tuple[float, ...]] = (1.0, 0.0)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if not self.period_sd > 0.0:
            raise ParameterError(f"period_sd={self.period_sd!r} of component {self.name!r} must be positive.")

    def priors(self, scale: DataScale) -> dict[str, Prior]:
        return {
            "variance": Prior(0.2, 1.5),
            "period": Prior(self.period, self.period_sd),
            "coherence": Prior(3.0, 1.0),
        }

    def steps(self, gap: Tensor, **parameters: Tensor) -> PairedSteps:
        turns = gap / parameters["period"]
        x = turns / parameters["coherence"]
        angle, decay = 2.0 * pi * torch.frac(turns), (-x).exp()
        cosine, sine = decay * angle.cos(), decay * angle.sin()
        variance = parameters["variance"] * decayed(2.0 * x)
        return PairedSteps(
            torch.stack([cosine, cosine], dim=-1),
            torch.stack([sine, -sine], dim=-1),
            torch.stack([variance, variance], dim=-1),
            torch.zeros_like(variance)[..., None],
        )

    def start(self, **parameters: Tensor) -> Tensor:
        return parameters["variance"][..., None].expand(-1, 2)

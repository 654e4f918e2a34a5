"""Quasi-periodic season: harmonics of one period, whose shape is forgotten and renewed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.kernels.paired_filter import PairedSteps
from tsode.models.structural.component import DataScale, Prior, decayed
from tsode.models.structural.season import Season

__all__ = ["QuasiSeason"]


@dataclass(frozen=True)
class QuasiSeason(Season):
    """Damped season: harmonic ``k`` has the covariance ``size / k^2 exp(-gap / time) cos(2 pi k gap / period)``.

    It is stationary, and far ahead its forecast is zero. See `Season` for the parameters; ``frozen`` has no meaning.
    """

    name: str = "quasi_season"

    def priors(self, scale: DataScale) -> dict[str, Prior]:
        priors = super().priors(scale) | {"time": Prior(max(8.0 * self.period, 0.5), 1.5)}
        priors.pop("drift", None)
        return priors

    def steps(self, gap: Tensor, **parameters: Tensor) -> PairedSteps:
        turned = super().steps(gap, drift=torch.zeros_like(parameters["size"]), **parameters)
        x = (gap / parameters["time"])[..., None]
        decay = (-x).exp()
        variance = self.start(**parameters) * decayed(2.0 * x)
        return PairedSteps(turned.own * decay, turned.other * decay, variance, turned.covariance)

"""Season: harmonics of one period, whose amplitudes wander."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import ClassVar

import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.kernels.paired_filter import PairedSteps
from tsode.models.structural.component import Component, DataScale, Prior

__all__ = ["Season"]


@dataclass(frozen=True)
class Season(Component):
    """Sum of harmonics of one period; sine and cosine of each have amplitudes that are Brownian motions.

    Harmonic ``k`` has the variance ``size / k^2`` at the start, and ``size drift t / k^2`` more after a time ``t``.

    Parameters
    ----------
    period : float
        In spans of the data.
    n_harmonics : int
    period_sd : float
        Of the logarithm of the period, where it is found with the parameters; 0: it is fixed.
    frozen : bool
        Whether the shape stays what it is.
    """

    period: float
    n_harmonics: int = 6
    period_sd: float = 0.0
    frozen: bool = False
    name: str = "season"

    role: ClassVar[str] = "season"

    def __post_init__(self) -> None:
        if self.n_harmonics < 1:
            raise ParameterError(f"n_harmonics={self.n_harmonics!r} of component {self.name!r} must be at least 1.")
        if not self.period_sd >= 0.0:
            raise ParameterError(f"period_sd={self.period_sd!r} of component {self.name!r} must not be negative.")

    @property
    def n_states(self) -> int:
        return 2 * self.n_harmonics

    @property
    def readout(self) -> tuple[float, ...]:
        return (1.0, 0.0) * self.n_harmonics

    def priors(self, scale: DataScale) -> dict[str, Prior]:
        priors = {"size": Prior(0.1, 2.0)}
        if not self.frozen:
            priors["drift"] = Prior(0.1, 2.0)
        if self.period_sd:
            priors["period"] = Prior(self.period, self.period_sd)
        return priors

    def steps(self, gap: Tensor, **parameters: Tensor) -> PairedSteps:
        size = parameters["size"]
        order = torch.arange(1, self.n_harmonics + 1, dtype=gap.dtype, device=gap.device)
        turns = gap / parameters.get("period", torch.full_like(size, self.period))
        # whole turns are taken away first: a sine of millions has few digits
        angle = 2.0 * pi * torch.frac(turns[..., None] * order)
        cosine, sine = angle.cos(), angle.sin()
        drift = torch.zeros_like(size) if self.frozen else parameters["drift"]
        variance = (size * drift * gap)[..., None] / order**2
        return PairedSteps(
            cosine.repeat_interleave(2, dim=-1),
            torch.stack([sine, -sine], dim=-1).flatten(-2),
            variance.repeat_interleave(2, dim=-1),
            torch.zeros_like(variance),
        )

    def start(self, **parameters: Tensor) -> Tensor:
        size = parameters["size"]
        order = torch.arange(1, self.n_harmonics + 1, dtype=size.dtype, device=size.device)
        return (size[..., None] / order**2).repeat_interleave(2, dim=-1)

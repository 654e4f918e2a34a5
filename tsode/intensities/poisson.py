"""Poisson process: events that are independent of each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsode.core.events import StreamBatch
from tsode.intensities.base import FutureIntensity, Intensity

__all__ = ["Poisson", "event_rates"]


class Poisson(Intensity):
    """Constant rate ``mu_k`` of each mark (the baseline: any memory has to beat it)."""

    def __init__(self, n_marks: int) -> None:
        super().__init__(n_marks)
        self.log_mu = nn.Parameter(torch.full((n_marks,), -0.5))

    def start(self, n_streams: int) -> Tensor:
        return self.log_mu.new_zeros(n_streams, 0)

    def jump(self, z: Tensor, wait: Tensor, marks: Tensor) -> Tensor:
        return z

    def extrapolate(self, z: Tensor, waits: Tensor) -> FutureIntensity:
        mu = self.log_mu.exp()
        return FutureIntensity(mu.expand(*waits.shape, -1), mu.sum() * waits.to(mu.dtype))

    def upper_bound(self, z: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return self.log_mu.exp().sum().expand(len(low))

    def natural(self, unit: float) -> dict[str, Tensor]:
        return {"mu": self.log_mu.exp() * unit}

    @torch.no_grad()
    def initialise(self, batch: StreamBatch) -> None:
        self.log_mu.copy_(event_rates(batch, self.n_marks).log())


def event_rates(batch: StreamBatch, n_marks: int) -> Tensor:
    """Events of each mark per unit of time watched (k,), float64, with half an event more so that none is zero."""
    counts = batch.one_hot(n_marks, torch.float64).sum(dim=(0, 1))
    return (counts + 0.5) / (batch.end - batch.start).sum().clamp(min=1e-12)

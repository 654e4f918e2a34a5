"""Modes that decay at rates of their own, from very slow to very fast, beside components that stay."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tsode.core.integrated_exponential import integrated_exponential
from tsode.evolutions.base import DrivenEvolution, Evolved

__all__ = ["DecayingFlow"]


class DecayingFlow(DrivenEvolution):
    """Real modes ``u(t1) = u(t0) exp(-rate (t1 - t0))`` and static components, exact over any gap.

    The state is ``[u, theta]``; ``theta`` stays as it is. Every mode is monotone between events, so a linear readout
    has bounds over any interval in closed form.

    Parameters
    ----------
    n_modes : int
    n_static : int
        Number of components that do not change between events.
    rates : (float, float)
        Slowest and fastest rate at the start, log-spaced between, per unit of time.
    """

    def __init__(self, n_modes: int, n_static: int = 0, rates: tuple[float, float] = (0.1, 100.0)) -> None:
        super().__init__()
        low, high = (math.log(rate) for rate in rates)
        self.log_rate = nn.Parameter(torch.linspace(low, high, n_modes))
        self.n_state = n_modes + n_static

    @property
    def n_standing(self) -> int:
        return self.n_state - len(self.log_rate)

    def slope(self, t: Tensor, z: Tensor) -> Tensor:
        return -nn.functional.pad(self.log_rate.exp(), (0, self.n_standing)) * z

    def evolve(self, z: Tensor, t0: Tensor, t1: Tensor, drive: Tensor | None = None) -> Evolved:
        evolved = self.evolve_to(z, t0, t1[:, None], drive)
        return Evolved(evolved.z[:, 0], evolved.cost[:, 0], evolved.status)

    def evolve_to(self, z: Tensor, t0: Tensor, times: Tensor, drive: Tensor | None = None) -> Evolved:
        gap = (times - t0[:, None]).to(z.dtype)
        # a rate of zero keeps the static components bit for bit, and costs less than to set two parts side by side
        rate = nn.functional.pad(self.log_rate.exp(), (0, self.n_state - len(self.log_rate)))
        carried = z[:, None] * (-rate * gap[..., None]).exp()
        if drive is not None:
            n_modes = len(self.log_rate)
            real, _ = integrated_exponential(rate[:n_modes], torch.zeros_like(rate[:n_modes]), gap[..., None])
            moved = real * drive[:, None, :n_modes]
            carried = carried + nn.functional.pad(moved, (0, self.n_state - n_modes))
        return Evolved(carried, torch.zeros_like(gap), torch.zeros_like(t0, dtype=torch.int64))

    def extremes(self, z: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Least and greatest value (b d) of each component between `low` and `high` (b,) after ``z`` (b d)."""
        first, last = self.evolve_to(z, torch.zeros_like(low), torch.stack([low, high], dim=1)).z.unbind(1)
        return torch.minimum(first, last), torch.maximum(first, last)

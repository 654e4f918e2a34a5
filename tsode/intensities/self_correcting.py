"""Self-correcting process: each event lowers the intensity of the next."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tsode.core.events import StreamBatch
from tsode.intensities.base import FutureIntensity, Intensity
from tsode.intensities.poisson import event_rates

__all__ = ["SelfCorrecting"]


class SelfCorrecting(Intensity):
    """Self-correcting process: ``lambda_k(t) = exp(nu_k + mu_k (t - start) - sum_j alpha_{kj} N_j(t))``.

    Isham & Westcott 1979 (eq. 1.1), with a level ``nu`` so that the unit of time may be chosen freely, and for several
    marks. The state is the log intensity: it grows along a line and jumps down at each event.

    Parameters
    ----------
    n_marks : int

    Attributes
    ----------
    nu : Parameter[k]
    log_mu : Parameter[k]
        Log of the growth rates.
    pause : Parameter[k k]
        ``alpha_{kj} / mu_k``, the time it takes to grow back what an event costs: row = mark held back, column = mark
        of the event; a negative entry excites. With ``alpha`` itself, growth and cost could change only together,
        for over a long window they must balance, and a fit would crawl.
    """

    def __init__(self, n_marks: int) -> None:
        super().__init__(n_marks)
        self.nu = nn.Parameter(torch.zeros(n_marks))
        self.log_mu = nn.Parameter(torch.full((n_marks,), -0.5))
        self.pause = nn.Parameter(torch.full((n_marks, n_marks), 1.0 / n_marks))

    def start(self, n_streams: int) -> Tensor:
        return self.nu.expand(n_streams, -1)

    def jump(self, z: Tensor, wait: Tensor, marks: Tensor) -> Tensor:
        return z + self.log_mu.exp() * (wait.to(z.dtype)[:, None] - self.pause.t()[marks])

    def states(self, batch: StreamBatch) -> Tensor:
        # in float64: over a long window what has grown and what events have cost are large, and their difference small
        spent = (self.pause.double().t()[batch.marks] * batch.is_event[..., None]).cumsum(dim=1)
        balance = (batch.times - batch.start[:, None])[..., None] - spent
        return self.nu + nn.functional.pad((self.log_mu.double().exp() * balance).to(self.nu.dtype), (0, 0, 1, 0))

    def extrapolate(self, z: Tensor, waits: Tensor) -> FutureIntensity:
        growth, now = self.log_mu.exp() * waits.to(z.dtype)[..., None], z[:, None]
        gained = (now.exp() * torch.expm1(growth) / self.log_mu.exp()).sum(dim=-1)
        return FutureIntensity((now + growth).exp(), gained)

    def upper_bound(self, z: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return self.extrapolate(z, high[:, None]).total[:, 0]

    def natural(self, unit: float) -> dict[str, Tensor]:
        mu = self.log_mu.exp()
        return {"nu": self.nu + math.log(unit), "mu": mu * unit, "alpha": mu[:, None] * self.pause}

    @torch.no_grad()
    def initialise(self, batch: StreamBatch) -> None:
        # events at their mean rate just make up for the growth
        rates = event_rates(batch, self.n_marks)
        self.nu.copy_(rates.log())
        self.log_mu.copy_((0.5 * rates.sum()).log().expand(self.n_marks))
        self.pause.fill_(1.0 / rates.sum())

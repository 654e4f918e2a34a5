"""Neural jump intensity: a latent state that flows between events and is set anew at each."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tsode.core.events import StreamBatch
from tsode.errors import ParameterError
from tsode.evolutions.base import Evolution
from tsode.intensities.base import FutureIntensity, Intensity
from tsode.intensities.compensated import Compensated
from tsode.intensities.poisson import event_rates

__all__ = ["NeuralJump", "SoftplusReadout"]

SHORTEST = 1e-3  # in units of a typical gap: what comes closer together counts as at once


class SoftplusReadout(nn.Module):
    """Rates ``softplus(W z + b)`` of all marks: linear where events are many, log-linear where they are few."""

    def __init__(self, n_state: int, n_marks: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_state, n_marks)

    def forward(self, z: Tensor) -> Tensor:
        # in float32 softplus is zero below -100 or so, and its logarithm infinite
        return nn.functional.softplus(self.linear(z)) + 1e-12

    def upper_bound(self, low: Tensor, high: Tensor) -> Tensor:
        """Bound (b k) of the rates of all states between `low` and `high` (b d)."""
        up, down = self.linear.weight.clamp(min=0.0), self.linear.weight.clamp(max=0.0)
        return nn.functional.softplus(high @ up.t() + low @ down.t() + self.linear.bias) + 1e-12


@runtime_checkable
class Bounded(Protocol):
    """An evolution that knows the least and the greatest value of each component over a stretch of time."""

    def extremes(self, z: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]: ...


class NeuralJump(Intensity):
    """Intensities read out of a latent state that flows in continuous time and jumps at every event.

    A gated recurrent cell keeps a memory of the events (mark, and time since the one before); an event sets the state
    ``z = rho(memory)``, which an evolution carries until the next one. ``lambda_k = softplus(readout(z))``, and the
    compensator is the evolution's cost. A neural jump SDE (Jia & Benson 2019, eq. 4-6) with the closed-form flows of
    the neural Hawkes process (Mei & Eisner 2017, eq. 4-7) between the jumps. As nothing but the time between is read
    at an event, all memories are found before any flow is followed, and all gaps of a batch are integrated at once.

    Parameters
    ----------
    n_marks : int
    evolution : Evolution
        Of the latent state between events, e.g. `tsode.evolutions.decay.DecayingFlow`. Time runs from 0 at each event.
    n_hidden : int
        Width of the memory.
    n_nodes : int
        Of the quadrature over each gap while it learns; later as many as it takes, see
        `tsode.intensities.compensated.Compensated`.
    """

    is_exact = False
    is_finite_memory = True

    def __init__(self, n_marks: int, evolution: Evolution, n_hidden: int = 64, n_nodes: int = 16) -> None:
        super().__init__(n_marks)
        self.first = nn.Parameter(torch.zeros(n_hidden))
        self.memory = nn.GRU(n_marks + 2, n_hidden, batch_first=True)
        self.rho = nn.Sequential(nn.Linear(n_hidden, n_hidden), nn.Tanh(), nn.Linear(n_hidden, evolution.n_state))
        self.readout = SoftplusReadout(evolution.n_state, n_marks)
        self.flow = Compensated(evolution, self.readout, n_nodes)

    def start(self, n_streams: int) -> Tensor:
        return self.first.expand(n_streams, -1)

    def jump(self, z: Tensor, wait: Tensor, marks: Tensor) -> Tensor:
        one_hot = nn.functional.one_hot(marks, self.n_marks).to(z.dtype)
        return self.memory(self._inputs(one_hot, wait)[:, None], z[None].contiguous())[1][0]

    def states(self, batch: StreamBatch) -> Tensor:
        z = self.start(batch.n_streams)
        if not batch.n_events:
            return z[:, None]
        # events of one time are one step of the memory, which reads their marks together
        step = batch.is_first.cumsum(dim=1) - 1
        marks = batch.one_hot(self.n_marks, z.dtype)
        together = torch.zeros_like(marks).scatter_add(1, step[..., None].expand_as(marks), marks)
        waits = torch.zeros_like(batch.times).scatter_add(1, step, batch.gaps[:, :-1])
        memories = self.memory(self._inputs(together, waits), z[None].contiguous())[0]
        memories = memories.gather(1, step[..., None].expand_as(memories))
        return torch.cat([z[:, None], memories], dim=1)

    def extrapolate(self, z: Tensor, waits: Tensor) -> FutureIntensity:
        b, m = waits.shape
        placed = self.rho(z)[:, None].expand(-1, m, -1).flatten(0, 1)
        ends = waits.reshape(-1)
        evolved = self.flow.evolve(placed, torch.zeros_like(ends), ends)
        return FutureIntensity(self.readout(evolved.z).reshape(b, m, -1), evolved.cost.reshape(b, m))

    def rates(self, z: Tensor, waits: Tensor) -> Tensor:
        return self.readout(self.flow.evolution.evolve_to(self.rho(z), waits.new_zeros(len(z)), waits).z)

    def upper_bound(self, z: Tensor, low: Tensor, high: Tensor) -> Tensor:
        evolution = self.flow.evolution
        if not isinstance(evolution, Bounded):
            raise ParameterError(
                f"Thinning needs bounds of the state between events, which {type(evolution).__name__} does not know: "
                "build the intensity on a DecayingFlow."
            )
        return self.readout.upper_bound(*evolution.extremes(self.rho(z), low, high)).sum(dim=-1)

    @torch.no_grad()
    def reorder_marks(self, order: Tensor) -> None:
        place = order.argsort()
        reads = self.memory.get_parameter("weight_ih_l0")[:, : self.n_marks]
        reads.copy_(reads[:, place].clone())
        for part in self.readout.linear.parameters():
            part.copy_(part[place].clone())

    @torch.no_grad()
    def initialise(self, batch: StreamBatch) -> None:
        rates = event_rates(batch, self.n_marks)
        self.readout.linear.bias.copy_(rates + (-torch.expm1(-rates)).log())  # softplus(bias) = rate

    def _inputs(self, one_hot: Tensor, wait: Tensor) -> Tensor:
        """What the memory reads of an event: mark and time since the one before, on two scales (... k+2)."""
        scales = [(wait + SHORTEST).log() / 2.0, wait / (1.0 + wait)]
        return torch.cat([one_hot, torch.stack(scales, dim=-1).to(one_hot.dtype)], dim=-1)

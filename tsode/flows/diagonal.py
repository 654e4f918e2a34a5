"""Complex modes that rotate and decay in closed form; their rates may be set by static components of the state."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tsode.evolution import Evolution, Evolved
from tsode.nn.rotation import rotate

__all__ = ["DiagonalFlow"]


class DiagonalFlow(Evolution):
    """Diagonal complex linear flow, exact over any gap, with rates amortised by static reals in the state.

    The state is ``[Re u, Im u, theta]``. Modes follow ``u(t1) = u(t0) exp((-alpha + i omega)(t1 - t0))`` and
    ``theta`` stays as it is. With ``(a, b) = W theta + c``:

    ``alpha = softplus(rate + a)``, ``omega = frequency * exp(tanh(b) / 2)``.

    A jump that moves ``theta`` therefore gives a series its own decay times and periods. Without statics the rates
    are the same for all series.

    Parameters
    ----------
    n_modes : int
        Number of complex modes ``u``.
    n_static : int
        Number of static reals ``theta``; 0 = fixed rates.
    frequencies : (float, float)
        Lowest and highest angular frequency at the start, in radians per time unit (one forecast horizon);
        log-spaced between. From a fraction of a turn to four turns a horizon covers what a horizon can show.
    """

    runs_backward = True

    def __init__(self, n_modes: int, n_static: int = 0, frequencies: tuple[float, float] = (0.2, 25.0)) -> None:
        super().__init__()
        self.n_modes = n_modes
        self.n_static = n_static
        self.n_state = 2 * n_modes + n_static
        low, high = (math.log(f) for f in frequencies)
        self.rate = nn.Parameter(torch.full((n_modes,), -2.0))  # softplus(-2) = 0.13: slow decay at the start
        self.frequency = nn.Parameter(torch.linspace(low, high, n_modes).exp())
        if n_static:
            self.modulation = nn.Linear(n_static, 2 * n_modes)
            nn.init.normal_(self.modulation.weight, std=0.02)
            nn.init.zeros_(self.modulation.bias)

    def rates(self, static: Tensor) -> tuple[Tensor, Tensor]:
        """Decay and angular frequency of each mode, ``static`` (... s) -> (... n), (... n)."""
        if not self.n_static:
            shape = (*static.shape[:-1], self.n_modes)
            return nn.functional.softplus(self.rate).expand(shape), self.frequency.expand(shape)
        shift, bend = self.modulation(static).chunk(2, dim=-1)
        return nn.functional.softplus(self.rate + shift), self.frequency * (0.5 * bend.tanh()).exp()

    def evolve(self, z: Tensor, t0: Tensor, t1: Tensor) -> Evolved:
        evolved = self.evolve_to(z, t0, t1[:, None])
        return Evolved(evolved.z[:, 0], evolved.cost[:, 0], evolved.status)

    def evolve_to(self, z: Tensor, t0: Tensor, times: Tensor) -> Evolved:
        gap = (times - t0[:, None]).to(z.dtype)
        decay, frequency = self.rates(z[:, None, 2 * self.n_modes :])
        carried = rotate(z[:, None], decay, frequency, gap[..., None])
        return Evolved(carried, torch.zeros_like(gap), torch.zeros_like(t0, dtype=torch.int64))

"""Decay and frequency of complex modes, which static reals may set."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["ModeRates"]


class ModeRates(nn.Module):
    """Rates ``-alpha + i omega`` of complex modes, amortised by static reals ``theta``.

    With ``(a, b) = W theta + c``: ``alpha = softplus(rate + a)``, ``omega = frequency * exp(tanh(b) / 2)``. Without
    statics the rates are the same for all series.

    Parameters
    ----------
    n_modes : int
    n_static : int
        Width of ``theta``; 0 = fixed rates.
    frequencies : (float, float)
        Lowest and highest angular frequency at the start, in radians per time unit (one forecast horizon);
        log-spaced between. From a fraction of a turn to four turns a horizon covers what a horizon can show.
    """

    def __init__(self, n_modes: int, n_static: int = 0, frequencies: tuple[float, float] = (0.2, 25.0)) -> None:
        super().__init__()
        self.n_modes = n_modes
        self.n_static = n_static
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

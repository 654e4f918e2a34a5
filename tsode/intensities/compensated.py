"""Compensator of an evolution: the integral of a rate, carried along with its state."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from tsode.evolutions.base import Evolution, Evolved

__all__ = ["Compensated"]


class Compensated(Evolution):
    """Evolution whose ``cost`` is the integral of ``rate(z(t))`` along the way.

    The states at the nodes come from the evolution's own ``evolve_to``, a closed form or a solver with dense output.
    The rule is Gauss-Legendre in ``x = log(1 + (t - t0) / finest)``: a rate that changes within `finest` after the
    start and slowly later is as smooth in x over a gap of any length.

    Parameters
    ----------
    evolution : Evolution
    rate : nn.Module
        States (... d) -> rates (... k), not negative; their sum is integrated.
    n_nodes : int
    finest : float
        Shortest time after the start on which the rate changes.
    """

    def __init__(self, evolution: Evolution, rate: nn.Module, n_nodes: int = 16, finest: float = 0.05) -> None:
        super().__init__()
        self.evolution = evolution
        self.rate = rate
        self.finest = finest
        self.n_state = evolution.n_state
        nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
        # not part of a saved model, and in float64 whatever the model's dtype
        self._nodes, self._weights = torch.from_numpy(0.5 * (nodes + 1.0)), torch.from_numpy(0.5 * weights)

    def evolve(self, z: Tensor, t0: Tensor, t1: Tensor) -> Evolved:
        length = torch.log1p((t1 - t0) / self.finest)[:, None]
        since = self.finest * torch.expm1(length * self._nodes.to(t0.device))
        measure = length * (since + self.finest) * self._weights.to(t0.device)
        states = self.evolution.evolve_to(z, t0, torch.cat([t0[:, None] + since, t1[:, None]], dim=1))
        rates = self.rate(states.z[:, :-1]).sum(dim=-1)
        return Evolved(states.z[:, -1], (rates * measure.to(z.dtype)).sum(dim=1), states.status)

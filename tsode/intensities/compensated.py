"""Compensator of an evolution: the integral of a rate, carried along with its state."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from tsode.errors import TsodeWarning
from tsode.evolutions.base import Evolution, Evolved

__all__ = ["Compensated"]

TOLERANCE = 1e-6  # of an integral, or of 1 where it is less; float32 holds some 1e-5
MOST_NODES = 1024
NODES_AT_ONCE = 2**20  # of all rows, which bounds the memory


class Compensated(Evolution):
    """Evolution whose ``cost`` is the integral of ``rate(z(t))`` along the way.

    The states at the nodes come from the evolution's own ``evolve_to``, a closed form or a solver with dense output.
    The rule is Gauss-Legendre in ``x = log(1 + (t - t0) / finest)``: a rate that changes within `finest` after the
    start and slowly later is as smooth in x over a gap of any length.

    Where no gradient is taken the error is controlled: `n_nodes` are doubled, of each row by itself, until the integral
    stays within 1e-6 (8e-6 in float32) of the greater of itself and 1. While a model learns they are what they are.

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
        self.n_nodes = n_nodes
        self.finest = finest
        self.n_state = evolution.n_state

    def evolve(self, z: Tensor, t0: Tensor, t1: Tensor) -> Evolved:
        times, measure = self._nodes(t0, t1, self.n_nodes)
        states = self.evolution.evolve_to(z, t0, torch.cat([times, t1[:, None]], dim=1))
        cost = self._sum(states.z[:, :-1], measure)
        if not torch.is_grad_enabled():
            cost = self._refined(cost, z, t0, t1)
        return Evolved(states.z[:, -1], cost, states.status)

    def _nodes(self, t0: Tensor, t1: Tensor, n_nodes: int) -> tuple[Tensor, Tensor]:
        """Times and weights (b n) of the rule between `t0` and `t1` (b,), in float64 whatever the model's dtype."""
        nodes, weights = (torch.from_numpy(part).to(t0.device) for part in _gauss_legendre(n_nodes))
        length = torch.log1p((t1 - t0) / self.finest)[:, None]
        since = self.finest * torch.expm1(length * nodes)
        return t0[:, None] + since, length * (since + self.finest) * weights

    def _sum(self, z: Tensor, measure: Tensor) -> Tensor:
        return (self.rate(z).sum(dim=-1) * measure.to(z.dtype)).sum(dim=1)

    def _refined(self, cost: Tensor, z: Tensor, t0: Tensor, t1: Tensor) -> Tensor:
        """The integral with as many nodes as it takes; `cost` where it is right already."""
        tolerance = max(TOLERANCE, 64.0 * torch.finfo(z.dtype).eps)
        rough, n_nodes, error = torch.arange(len(z), device=z.device), self.n_nodes, cost
        while len(rough) and n_nodes < MOST_NODES:
            n_nodes *= 2
            finer = []
            for rows in rough.split(max(1, NODES_AT_ONCE // n_nodes)):
                times, measure = self._nodes(t0[rows], t1[rows], n_nodes)
                finer.append(self._sum(self.evolution.evolve_to(z[rows], t0[rows], times).z, measure))
            new = torch.cat(finer)
            error = (new - cost[rough]).abs() / new.clamp(min=1.0)
            is_rough = error > tolerance
            rough, error = rough[is_rough], error[is_rough]
            cost = cost.index_put((rough,), new[is_rough])
        if len(rough):
            warnings.warn(
                f"The integral of an intensity is known to {float(error.max()):.1g} of itself only, and not to "
                f"{tolerance:.1g}, with {n_nodes} nodes: rates jump within a gap between events. Fit with a lower "
                "learning_rate or a greater weight_decay.",
                TsodeWarning,
                stacklevel=2,
            )
        return cost


@cache
def _gauss_legendre(n_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the rule on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
    return 0.5 * (nodes + 1.0), 0.5 * weights

"""Parabolic dynamics: states of one series never move apart."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.dynamics.structured import Guarantee, Structured
from tsode.nn.convex_layer import ConvexLayer

__all__ = ["Parabolic"]


class Parabolic(Structured):
    """Drift ``-K' tanh(K x + b)`` with a symmetric layer: diffusion of what a state knows.

    Promise, for all weights: ``(f(x) - f(y)) . (x - y) <= 0`` at the same ``theta``, so that the distance of two
    solutions never grows (Ruthotto & Haber, theorem 1). An error in a state, of an observation say, is never
    magnified. Tested by `tsode.testing.check_dynamics` at random weights, and by ``tests/benchmarks/structure.py``.

    What it costs: the drift is downhill on a convex surface, so that nothing oscillates between events, and all states
    of a series come to the same rest, or to the same flat of it.

    Parameters
    ----------
    n_state : int
        Width of the whole state.
    n_static : int
        Coordinates of ``theta``, which sets ``b``.
    width : int
        Rows of ``K``.

    References
    ----------
    Ruthotto, Haber, "Deep neural networks motivated by partial differential equations", Journal of Mathematical Imaging
    and Vision 62, 2020 (arXiv 2018): parabolic networks.
    """

    def __init__(self, n_state: int, n_static: int = 0, width: int = 64) -> None:
        super().__init__(n_state, n_static)
        self.surface = ConvexLayer(self.n_moving, n_static, width)

    def motion(self, t: Tensor, x: Tensor, theta: Tensor) -> Tensor:
        return -self.surface.slope(x, theta)

    @torch.no_grad()
    def measure(self, t: Tensor, x: Tensor, theta: Tensor) -> tuple[Guarantee, ...]:
        y = x.roll(1, dims=0)
        apart = x - y
        growth = ((self.motion(t, x, theta) - self.motion(t, y, theta)) * apart).sum(dim=1)
        # in shares of the fastest that any two states could part at these weights
        fastest = self.surface.weight.abs().sum() * torch.linalg.vector_norm(apart, dim=1)
        share = torch.where(fastest > 0, growth / fastest, 0.0)
        rounding = 10 * torch.finfo(x.dtype).eps
        return (Guarantee("max (f(x) - f(y)) . (x - y), scaled", float(share.max()), 0.0, rounding),)

"""Gated recurrent unit that is fed with the negative of its state: stable when time is stretched."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tsode.dynamics.base import Relaxing
from tsode.dynamics.structured import Guarantee, Structured
from tsode.errors import ParameterError

__all__ = ["AntiFeedback"]


class AntiFeedback(Structured, Relaxing):
    """Drift ``GRU(-x)``: the update of a gated recurrent unit at the negative of the state, as in DeNOTS.

    ``(1 - u) n - u x`` with the gates ``u``, ``r`` and the candidate ``n`` of `torch.nn.GRUCell` at ``-x``, without
    input. The paper's gate ``u`` may come as near to 0 as it likes, and where it does the state runs away at the speed
    1; here it is ``floor + (1 - floor) sigmoid(...)``. Promise, for all weights and each coordinate:
    ``d|x_i|/dt <= 1 - floor - floor |x_i|``, so that ``|x_i(t)| <= max(|x_i(0)|, 1 / floor - 1)`` over any span,
    however much time is stretched. Tested by `tsode.testing.check_dynamics` at random weights, and by
    ``tests/benchmarks/structure.py``. It relaxes, so that `tsode.numerics.ExponentialEuler` keeps the promise with
    steps of any length.

    What it costs: every coordinate forgets at a rate of at least `floor`, and none is held beyond ``1 / floor - 1``.

    Parameters
    ----------
    n_state : int
        Width of the whole state.
    n_static : int
        Coordinates of ``theta``, which the gates read.
    floor : float
        Least rate at which a coordinate forgets, per unit of time, in (0, 1).

    References
    ----------
    Kuleshov et al., "DeNOTS: stable deep neural ODEs for time series", ICLR 2026: anti-phase negative feedback.
    """

    def __init__(self, n_state: int, n_static: int = 0, floor: float = 0.1) -> None:
        super().__init__(n_state, n_static)
        if not 0.0 < floor < 1.0:
            raise ParameterError(f"floor={floor!r} must be between 0 and 1.")
        self.floor = floor
        self.gates = nn.Linear(n_state, 3 * self.n_moving)  # r, u, n in one product, in the order of GRUCell
        self.candidate_bias = nn.Parameter(torch.zeros(self.n_moving))

    def _gates(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Rate and candidate (b n_moving)."""
        read = torch.cat([-x, theta], dim=1) if self.n_static else -x
        gates, candidate = self.gates(read).tensor_split([2 * self.n_moving], dim=1)
        r, u = gates.sigmoid().chunk(2, dim=1)
        return self.floor + (1 - self.floor) * u, torch.tanh(torch.addcmul(self.candidate_bias, r, candidate))

    def motion(self, t: Tensor, x: Tensor, theta: Tensor) -> Tensor:
        rate, candidate = self._gates(x, theta)
        return (1 - rate) * candidate - rate * x

    def relaxation(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        x, theta = z[:, : self.n_moving], z[:, self.n_moving :]
        rate, candidate = self._gates(x, theta)
        target = (1 - rate) / rate * candidate
        if not self.n_static:
            return rate, target
        return functional.pad(rate, (0, self.n_static)), torch.cat([target, theta], dim=1)

    @torch.no_grad()
    def measure(self, t: Tensor, x: Tensor, theta: Tensor) -> tuple[Guarantee, ...]:
        size = x.abs()
        outwards = torch.where(x == 0, 1.0, x.sign()) * self.motion(t, x, theta)
        # in shares of the terms, which may be large
        excess = (outwards - (1 - self.floor - self.floor * size)) / (1 + size)
        rounding = 10 * torch.finfo(x.dtype).eps
        return (Guarantee("max d|x|/dt - (1 - floor - floor |x|), scaled", float(excess.max()), 0.0, rounding),)

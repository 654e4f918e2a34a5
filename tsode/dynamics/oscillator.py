"""Coupled oscillators, damped and driven by what a bounded network makes of them all."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tsode.dynamics.structured import Guarantee, Structured, finite_exp
from tsode.errors import ParameterError
from tsode.nn.static_offset import StaticOffset

__all__ = ["Oscillator"]


class Oscillator(Structured):
    """Field ``y' = k v, v' = k (tanh(W y + U v + b) - y - 2 zeta v)`` of ``n`` oscillators, as in coRNN (eq. 1).

    The state is ``[y, v, theta]``, half of what moves being ``v``. In coRNN's letters ``gamma = k^2`` and
    ``epsilon = 2 zeta k``, and the force has the factor ``k^2``, so that slow and fast oscillators swing alike; each
    has a rate ``k`` of its own. Promise, for all weights and each oscillator: its amplitude
    ``r = sqrt(y^2 + v^2 + 2 zeta y v)`` obeys ``dr/dt <= k (1 - zeta r)``, so that ``r(t) <= max(r(0), 1 / zeta)`` for
    ever. (The product rule leaves ``r dr/dt = k (s (v + zeta y) - zeta r^2)`` with ``|s| <= 1``.) Tested by
    `tsode.testing.check_dynamics` at random weights, and by ``tests/benchmarks/structure.py``.

    What it costs: every oscillator forgets at the rate ``zeta k``, and amplitudes beyond ``1 / zeta`` are out of reach.

    Parameters
    ----------
    n_state : int
        Width of the whole state; less `n_static` it is even.
    n_static : int
        Coordinates of ``theta``, which sets ``b``.
    damping : float
        Damping ratio ``zeta`` in (0, 1).
    rates : (float, float)
        Slowest and fastest rate ``k`` at the start, log-spaced between, in radians per unit of time (in a forecaster:
        one horizon). Steps of an explicit solver have to be shorter than about ``1 / k``.

    References
    ----------
    Rusch, Mishra, "Coupled oscillatory recurrent neural network (coRNN): an accurate and (gradient) stable architecture
    for learning long time dependencies", ICLR 2021.
    """

    def __init__(
        self, n_state: int, n_static: int = 0, damping: float = 0.1, rates: tuple[float, float] = (0.1, 5.0)
    ) -> None:
        super().__init__(n_state, n_static)
        if not 0.0 < damping < 1.0:
            raise ParameterError(f"damping={damping!r} must be between 0 and 1.")
        self.damping = damping
        low, high = (math.log(rate) for rate in rates)
        self.log_rate = nn.Parameter(torch.linspace(low, high, self.n_pairs))
        self.weight = nn.Parameter(torch.randn(self.n_pairs, self.n_moving) / self.n_moving**0.5)
        self.offset = StaticOffset(n_static, self.n_pairs)

    def motion(self, t: Tensor, x: Tensor, theta: Tensor) -> Tensor:
        y, v = x.chunk(2, dim=1)
        force = torch.addmm(self.offset(theta), x, self.weight.mT).tanh()
        rate = finite_exp(self.log_rate)
        return torch.cat([rate * v, rate * (force - y - 2 * self.damping * v)], dim=1)

    @torch.no_grad()
    def measure(self, t: Tensor, x: Tensor, theta: Tensor) -> tuple[Guarantee, ...]:
        y, v = x.chunk(2, dim=1)
        dy, dv = self.motion(t, x, theta).chunk(2, dim=1)
        square = y.square() + v.square() + 2 * self.damping * y * v
        amplitude = square.sqrt()
        growth = ((y + self.damping * v) * dy + (v + self.damping * y) * dv) / finite_exp(self.log_rate)
        # in shares of the terms, which may be large
        excess = (growth - amplitude * (1 - self.damping * amplitude)) / (square + amplitude)
        rounding = 100 * torch.finfo(x.dtype).eps / (1 - self.damping)
        worst = float(torch.where(square > 0, excess, 0.0).max())
        return (Guarantee("max dr/dt / k - (1 - zeta r), scaled", worst, 0.0, rounding),)

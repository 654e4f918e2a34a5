"""Uncoupled oscillators without damping: each keeps an energy of its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tsode.dynamics.structured import Guarantee, Structured, finite_exp
from tsode.errors import ParameterError
from tsode.nn.static_offset import StaticOffset

__all__ = ["UncoupledOscillator"]


class UncoupledOscillator(Structured):
    """Field ``y' = k v, v' = -k (w tanh(w y + b) + stiffness y)`` of ``n`` independent oscillators, as in UnICORNN.

    The state is ``[y, v, theta]``, half of what moves being ``v``; each oscillator has a rate ``k`` of its own.
    Promise, for all weights: ``v^2 / 2 + stiffness y^2 / 2 + log cosh(w y + b)`` of each oscillator stands still along
    the drift, and no term of it is ever negative: ``|v| <= sqrt(2 E(0))`` and ``|y| <= sqrt(2 E(0) / stiffness)``
    for ever. (The paper has the force ``tanh(w y + b)`` without the factor ``w``, whose energy is below 0 for some
    ``w < 0``.) A symplectic solver keeps the energies within a band however many steps it takes. Tested by
    `tsode.testing.check_dynamics` at random weights, and by ``tests/benchmarks/structure.py``.

    What it costs: between events no oscillator sees another, and nothing fades.

    Parameters
    ----------
    n_state : int
        Width of the whole state; less `n_static` it is even.
    n_static : int
        Coordinates of ``theta``, which sets ``b``.
    stiffness : float
        Of the linear spring; positive.
    rates : (float, float)
        Slowest and fastest rate ``k`` at the start, log-spaced between, in radians per unit of time (in a forecaster:
        one horizon). Steps of an explicit solver have to be shorter than about ``1 / k``.

    References
    ----------
    Rusch, Mishra, "UnICORNN: a recurrent model for learning very long time dependencies", ICML 2021.
    """

    def __init__(
        self, n_state: int, n_static: int = 0, stiffness: float = 1.0, rates: tuple[float, float] = (0.1, 5.0)
    ) -> None:
        super().__init__(n_state, n_static)
        if not 0.0 < stiffness < float("inf"):
            raise ParameterError(f"stiffness={stiffness!r} must be positive and finite.")
        self.stiffness = stiffness
        low, high = (math.log(rate) for rate in rates)
        self.log_rate = nn.Parameter(torch.linspace(low, high, self.n_pairs))
        self.weight = nn.Parameter(torch.randn(self.n_pairs))
        self.offset = StaticOffset(n_static, self.n_pairs)

    def velocity(self, t: Tensor, v: Tensor, theta: Tensor) -> Tensor:
        """Rate of ``y``: ``t`` (b,), ``v`` (b n), ``theta`` (b n_static) -> (b n)."""
        return finite_exp(self.log_rate) * v

    def force(self, t: Tensor, y: Tensor, theta: Tensor) -> Tensor:
        """Rate of ``v``: ``t`` (b,), ``y`` (b n), ``theta`` (b n_static) -> (b n)."""
        pull = self.weight * torch.addcmul(self.offset(theta), self.weight, y).tanh()
        return -finite_exp(self.log_rate) * (pull + self.stiffness * y)

    def motion(self, t: Tensor, x: Tensor, theta: Tensor) -> Tensor:
        y, v = x.chunk(2, dim=1)
        return torch.cat([self.velocity(t, v, theta), self.force(t, y, theta)], dim=1)

    def energy(self, x: Tensor, theta: Tensor) -> Tensor:
        """Energy of each oscillator: ``x`` (b n_moving), ``theta`` (b n_static) -> (b n)."""
        y, v = x.chunk(2, dim=1)
        q = torch.addcmul(self.offset(theta), self.weight, y).abs()
        well = q + functional.softplus(-2.0 * q) - math.log(2.0)
        return 0.5 * v.square() + 0.5 * self.stiffness * y.square() + well

    def measure(self, t: Tensor, x: Tensor, theta: Tensor) -> tuple[Guarantee, ...]:
        with torch.inference_mode(False), torch.enable_grad():
            at = x.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(self.energy(at, theta.detach().clone()).sum(), at)
        rate = self.motion(t, x, theta).detach()
        power = (slope * rate).unflatten(1, (2, -1)).sum(dim=1)
        y, v = x.chunk(2, dim=1)
        # in shares of the most power that a force could have there
        most = finite_exp(self.log_rate.detach()) * v.abs() * (self.weight.detach().abs() + self.stiffness * y.abs())
        share = torch.where(most > 0, power / most, 0.0)
        rounding = 10 * torch.finfo(x.dtype).eps
        return (Guarantee("max |dE/dt| of each oscillator, scaled", float(share.abs().max()), 0.0, rounding),)

"""Stable field: every state runs to the equilibrium, at a rate that is given at least."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from tsode.dynamics.structured import Guarantee, Structured
from tsode.errors import ParameterError
from tsode.nn.convex import ConvexPotential
from tsode.nn.offset import Offset

__all__ = ["Stable"]

_ROUNDINGS = 1e4  # the terms of the slope of V cancel, near the equilibrium


class Stable(Structured):
    """Field ``f = g - relu(grad V . g + rate V) grad V / |grad V|**2`` with a learned Lyapunov function ``V``.

    ``V`` is a `tsode.nn.convex.ConvexPotential` of ``x`` less the equilibrium, ``g`` a perceptron that is 0 there.
    Guarantee, for all weights: ``dV/dt <= -rate V`` along the drift, per row, so that
    ``|x(t) - equilibrium|**2 <= V(x(0)) exp(-rate t) / least``; at the equilibrium ``f = 0`` exactly, and all gradients
    are finite. With a drive ``u`` on top, as of an infusion, ``dV/dt <= -rate V + grad V . u``. Measured in
    `tests/dynamics/test_stable.py`; solvers keep it to their error.

    What it costs: one equilibrium, no cycle, and sublevel sets of ``V`` that are convex: a path that first has to run
    away from its goal further than ``V`` can bend is not to be learned. The drift has a kink where the projection sets
    in, where solvers of high order fall to order 2.

    Parameters
    ----------
    n_state : int
        Width of the whole state ``[x, theta]``.
    n_static : int
        Coordinates of ``theta``.
    rate : float
        Least rate of decay of ``V``, per time unit of the batch; not negative.
    equilibrium : sequence of float, optional
        Where it is known; it is learned else.
    width, depth : int
        Of the hidden layers of ``g`` and of ``V``.
    least : float
        Least curvature of ``V``.

    References
    ----------
    Manek and Kolter, "Learning stable deep dynamics models", NeurIPS 2019, eq. 4, with ``V`` less its tangent instead
    of their eq. 12, whose clamp leaves ``V`` flat.
    """

    equilibrium: Tensor

    def __init__(
        self,
        n_state: int,
        n_static: int = 0,
        rate: float = 0.1,
        equilibrium: Sequence[float] | None = None,
        width: int = 64,
        depth: int = 2,
        least: float = 0.01,
    ) -> None:
        super().__init__(n_state, n_static)
        if width < 1 or depth < 1 or not 0 <= rate < float("inf"):
            raise ParameterError(
                f"width and depth must be at least 1 and rate not negative, but are {width}, {depth} and {rate}."
            )
        n = self.n_moving
        if equilibrium is None:
            self.equilibrium = nn.Parameter(torch.zeros(n))
        elif len(equilibrium) != n:
            raise ParameterError(f"equilibrium has {len(equilibrium)} numbers, but {n} coordinates move.")
        else:
            self.register_buffer("equilibrium", torch.tensor(list(equilibrium), dtype=torch.get_default_dtype()))
        self.rate = rate
        self.lyapunov = ConvexPotential(n, n_static, width, depth, least)
        self.layers = nn.ModuleList(nn.Linear(*sizes, bias=False) for sizes in pairwise([n] + [width] * depth + [n]))
        self.offsets = nn.ModuleList(Offset(n_static, width) for _ in range(depth))

    def motion(self, t: Tensor, x: Tensor, theta: Tensor) -> Tensor:
        y = x - self.equilibrium
        free = self._free(y, theta)
        value, slope = self.lyapunov.value_and_slope(y, theta)
        # the direction of the slope, of which the size may underflow squared; it cancels, and so has no gradient
        size = slope.detach().abs().amax(dim=1, keepdim=True)
        size = torch.where(size > 0, size, 1.0)
        normal = slope / size
        square = normal.square().sum(dim=1, keepdim=True)
        square = torch.where(square > 0, square, 1.0)
        excess = (normal * free).sum(dim=1, keepdim=True) + self.rate * value[:, None] / size
        return free - torch.relu(excess) * normal / square

    def value(self, x: Tensor, theta: Tensor) -> Tensor:
        """Lyapunov function: ``x`` (b n_moving), ``theta`` (b n_static) -> (b,)."""
        return self.lyapunov(x - self.equilibrium, theta)

    def measure(self, t: Tensor, x: Tensor, theta: Tensor) -> tuple[Guarantee, ...]:
        with torch.no_grad():
            y, rate = x - self.equilibrium, self.motion(t, x, theta)
            value, slope = self.lyapunov.value_and_slope(y, theta)
            gained = (slope * rate).sum(dim=1) + self.rate * value
            size = (slope * rate).abs().sum(dim=1) + (slope * self._free(y, theta)).abs().sum(dim=1)
            decay = torch.where(gained == 0, 0.0, gained / (size + self.rate * value))
            rest = self.motion(t, self.equilibrium.expand_as(x), theta).abs().max()
        rounding = _ROUNDINGS * torch.finfo(x.dtype).eps
        below = (self.lyapunov.least * y.square().sum(dim=1) - value) / value.clamp(min=torch.finfo(x.dtype).tiny)
        return (
            Guarantee("(dV/dt + rate V) / size of its terms <= 0", float(decay.max()), 0.0, rounding),
            Guarantee("(least |x - equilibrium|**2 - V) / V <= 0", float(below.max()), 0.0, rounding),
            Guarantee("|f(equilibrium)| = 0", float(rest), 0.0),
        )

    def _free(self, y: Tensor, theta: Tensor) -> Tensor:
        """Perceptron of ``tanh(W y + c) - tanh(c)``, which is 0 at 0 to the bit."""
        *hidden, last = self.layers
        for layer, offset in zip(hidden, self.offsets):
            along = layer(y)
            rest = offset(theta, along)
            y = torch.tanh(rest + along) - torch.tanh(rest)
        return last(y)

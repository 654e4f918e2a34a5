"""Scalar functions of a state, with their gradients in closed form."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from tsode.errors import ParameterError

__all__ = ["GivenPotential", "Potential"]

# As of `MLPDynamics`: motion is close to that of the quadratic form at the start of training, and all layers have a
# gradient.
_LAST_LAYER_SCALE = 0.1


class Potential(nn.Module):
    """Perceptron on top of a quadratic form: ``sum (k_i x_i)**2 / 2 + w . tanh(... tanh(A [x, theta] + b))``.

    Its gradient by ``x`` is one pass forward and one back, both written out: it needs no graph, so that it is the same
    to the bit with gradients, without them and in inference mode, and can be differentiated as often as one likes. The
    perceptron is bounded, the quadratic form is not: where no ``k_i`` is 0, what keeps the function keeps the state in
    a bounded set.

    Parameters
    ----------
    n_in : int
        Width of ``x``.
    n_static : int
        Width of ``theta``.
    width, depth : int
        Width and number of hidden layers.
    """

    def __init__(self, n_in: int, n_static: int = 0, width: int = 64, depth: int = 2) -> None:
        super().__init__()
        if width < 1 or depth < 1:
            raise ParameterError(f"width and depth must be at least 1, but are {width} and {depth}.")
        self.n_in = n_in
        self.root_stiffness = nn.Parameter(torch.ones(n_in))
        self.hidden = nn.ModuleList(nn.Linear(*sizes) for sizes in pairwise([n_in + n_static] + [width] * depth))
        self.weights = nn.Parameter(_LAST_LAYER_SCALE * torch.randn(width) / width**0.5)

    def forward(self, x: Tensor, theta: Tensor) -> Tensor:
        """``x`` (b n_in), ``theta`` (b n_static) -> (b,)."""
        top = self._units(x, theta)[-1]
        return (0.5 * (self.root_stiffness * x).square()).sum(dim=1) + (self.weights * top).sum(dim=1)

    def slope(self, x: Tensor, theta: Tensor) -> Tensor:
        """Gradient by `x`: arguments as of `forward` -> (b n_in)."""
        back: Tensor = self.weights
        units, weights = self._units(x, theta), [cast(nn.Linear, layer).weight for layer in self.hidden]
        for unit, weight in zip(reversed(units[1:]), reversed(weights[1:])):
            back = (back * (1.0 - unit.square())) @ weight
        back = (back * (1.0 - units[0].square())) @ weights[0][:, : self.n_in]
        return self.root_stiffness.square() * x + back

    def _units(self, x: Tensor, theta: Tensor) -> list[Tensor]:
        top, units = torch.cat([x, theta], dim=1), []
        for layer in self.hidden:
            top = torch.tanh(layer(top))
            units.append(top)
        return units


class GivenPotential(nn.Module):
    """Function of your own in place of a `Potential`; automatic differentiation gives its gradient.

    Parameters
    ----------
    function : callable
        ``x`` (b n), ``theta`` (b s) -> (b,), each row by itself. The weights of a module are weights of this one.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, theta: Tensor) -> Tensor:
        return self.function(x, theta)

    def slope(self, x: Tensor, theta: Tensor) -> Tensor:
        # the differentiation of torch.func goes on under no_grad and in inference mode
        value, *pull = torch.func.vjp(lambda state: self.function(state, theta), x)
        return pull[0](torch.ones_like(value))[0]

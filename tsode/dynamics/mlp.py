"""Neural vector field without structure."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from tsode._registry import lookup
from tsode.dynamics.base import Dynamics
from tsode.errors import ParameterError

__all__ = ["ACTIVATIONS", "MLPDynamics"]

# Smooth ones only: the order of a solver rests on the derivatives of the field.
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}

# Flow at the start of training is close to the identity, so that long gaps do not blow up; not zero, so that all
# layers have a gradient.
_LAST_LAYER_SCALE = 0.1


class MLPDynamics(Dynamics):
    """Drift given by a multilayer perceptron of the state.

    Parameters
    ----------
    n_state : int
        Width of the state.
    width : int
        Width of the hidden layers.
    depth : int
        Number of hidden layers, at least one.
    activation : {"tanh", "silu", "gelu", "softplus", "elu"}
        "tanh" bounds the drift, so that no state can leave the finite numbers in finite time.

    References
    ----------
    Chen et al., "Neural ordinary differential equations", NeurIPS 2018.
    """

    def __init__(self, n_state: int, width: int = 64, depth: int = 2, activation: str = "tanh") -> None:
        super().__init__(n_state)
        if width < 1 or depth < 1:
            raise ParameterError(f"width and depth must be at least 1, but are {width} and {depth}.")
        widths = [n_state] + [width] * depth
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [nn.Linear(n_in, n_out), lookup(ACTIVATIONS, activation, "activation")()]
        last = nn.Linear(width, n_state)
        with torch.no_grad():
            last.weight.mul_(_LAST_LAYER_SCALE)
            last.bias.zero_()
        self.layers = nn.Sequential(*layers, last)

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        return self.layers(z)

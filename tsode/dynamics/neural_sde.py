"""Neural stochastic differential equation without structure."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tsode.dynamics.mlp import MLPDynamics
from tsode.errors import ParameterError
from tsode.numerics.sde import Ito

__all__ = ["NeuralSDE"]

# Features of each coordinate from which its noise is made up: enough for a rise, a fall or a bump.
_N_FEATURES = 4


class NeuralSDE(Ito):
    """Drift that turns, relaxes and bends; bounded, positive noise in each coordinate.

    ``drift = (S - diag(pull)) z + mlp(z)`` with ``S`` antisymmetric: a rotation keeps the length of the state and the
    perceptron is bounded, so that the pull keeps every path in a bounded region for ever, and a forecast far ahead is
    that of a stationary process. The noise of coordinate ``i`` lies between the two `bounds` and is a small network of
    ``z_i`` alone. It cannot vanish, or the path KL of two drifts had no bound.

    At the start pairs of coordinates turn by one to four radians in a unit of time and relax over one unit, with the
    noise that keeps their variance at about 1.

    Parameters
    ----------
    n_state : int
        Width of the state.
    width, depth : int
        Size of the perceptron, see `MLPDynamics`.
    bounds : tuple of float
        Least and largest diffusion, per square root of the time unit.

    References
    ----------
    Li et al., "Scalable gradients for stochastic differential equations", AISTATS 2020, section 5.
    """

    def __init__(
        self, n_state: int, width: int = 64, depth: int = 1, bounds: tuple[float, float] = (0.05, 4.0)
    ) -> None:
        super().__init__(n_state)
        if not 0 < bounds[0] < bounds[1]:
            raise ParameterError(f"bounds must be two positive numbers, the smaller first, but are {bounds}.")
        self.bounds = bounds
        self.field = MLPDynamics(n_state, width, depth)
        self.log_pull = nn.Parameter(torch.zeros(n_state))
        rotation = 0.1 * torch.randn(n_state, n_state) / n_state**0.5
        n_pairs = n_state // 2
        first = 2 * torch.arange(n_pairs)
        rotation[first, first + 1] = 4.0 ** ((torch.arange(n_pairs, dtype=rotation.dtype) + 0.5) / max(n_pairs, 1))
        self.rotation = nn.Parameter(rotation)
        self.slopes = nn.Parameter(torch.randn(n_state, _N_FEATURES))
        self.offsets = nn.Parameter(torch.randn(n_state, _N_FEATURES))
        self.weights = nn.Parameter(0.1 * torch.randn(n_state, _N_FEATURES))
        share = math.log(2.0**0.5 / bounds[0]) / math.log(bounds[1] / bounds[0])
        self.level = nn.Parameter(torch.full((n_state,), share).clamp(0.1, 0.9).logit())

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        return torch.addmm(self.field(t, z), z, self.linear_part())

    def linear_part(self) -> Tensor:
        """Matrix that a state is multiplied by from the right: Tensor[d d]."""
        turn = self.rotation.triu(1)
        return turn.mT - turn - self.log_pull.exp().diag()

    def prepared(self) -> Ito:
        return _Prepared(self)

    def diffusion(self, t: Tensor, z: Tensor) -> Tensor:
        features = torch.tanh(torch.addcmul(self.offsets, self.slopes, z[..., None]))
        share = torch.sigmoid(self.level + (features * self.weights).sum(dim=-1))
        least, largest = self.bounds
        return least * (largest / least) ** share


class _Prepared(Ito):
    """A neural equation whose linear part is worked out."""

    def __init__(self, sde: NeuralSDE) -> None:
        super().__init__(sde.n_state)
        self.sde, self.linear = sde, sde.linear_part()

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        return torch.addmm(self.sde.field(t, z), z, self.linear)

    def diffusion(self, t: Tensor, z: Tensor) -> Tensor:
        return self.sde.diffusion(t, z)

"""Input-convex network with its least value, and no slope, at a point that is given."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from tsode.errors import ParameterError
from tsode.nn.offset import Offset

__all__ = ["ConvexPotential"]


class ConvexPotential(nn.Module):
    """Function ``V(y) = sum_j v_j**2 z_j(y) + least |y|**2``, convex in ``y``; ``V(0) = 0``, and ``V > 0`` elsewhere.

    Layers are those of an input-convex network, ``z_k = softplus(W_k y + U_k z_(k-1) + c_k)`` with ``U_k >= 0``, less
    their value and their slope along ``W_k y`` at 0: what is left is convex, not negative, and has neither value nor
    slope at 0, exactly so in floating point. Nothing is cut off, so that ``V`` has no plateau.

    Parameters
    ----------
    n_in : int
        Width of ``y``.
    n_static : int
        Width of ``theta``, which sets the offsets ``c_k``.
    width, depth : int
        Width and number of hidden layers.
    least : float
        Curvature that is there whatever the weights.

    References
    ----------
    Amos, Xu, Kolter, "Input convex neural networks", ICML 2017, eq. 2.
    """

    def __init__(self, n_in: int, n_static: int = 0, width: int = 32, depth: int = 2, least: float = 0.01) -> None:
        super().__init__()
        if width < 1 or depth < 1 or not least > 0:
            raise ParameterError(
                f"width and depth must be at least 1 and least positive, but are {width}, {depth} and {least}."
            )
        self.least = least
        self.inputs = nn.ParameterList(torch.randn(width, n_in) / n_in**0.5 for _ in range(depth))
        self.offsets = nn.ModuleList(Offset(n_static, width) for _ in range(depth))
        self.roots = nn.ParameterList(torch.rand(*sizes) / width**0.5 for sizes in pairwise([width] * depth))
        self.root_weights = nn.Parameter(torch.rand(width) / width**0.5)

    def forward(self, y: Tensor, theta: Tensor) -> Tensor:
        """``y`` (b n_in), ``theta`` (b n_static) -> (b,)."""
        return self.value_and_slope(y, theta)[0]

    def value_and_slope(self, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Value (b,) and gradient by `y` (b n_in): arguments as of `forward`."""
        tops: list[Tensor] = []  # z_k
        lifts: list[Tensor] = []  # softplus'(a_k) - softplus'(c_k)
        steeps: list[Tensor] = []  # softplus'(a_k)
        for k, (weight, offset) in enumerate(zip(self.inputs, self.offsets)):
            along = y @ weight.T
            rest = offset(theta, along)
            at = rest + along if k == 0 else rest + along + tops[-1] @ self.roots[k - 1].square().T
            tilt, steep = torch.sigmoid(rest), torch.sigmoid(at)
            tops.append(_softplus(at) - _softplus(rest) - tilt * along)
            lifts.append(steep - tilt)
            steeps.append(steep)
        value = (tops[-1].clamp(min=0.0) * self.root_weights.square()).sum(dim=1)  # a rounding error may be negative
        back, slope = self.root_weights.square().expand_as(tops[-1]), 2.0 * self.least * y
        for k in reversed(range(len(tops))):
            slope = slope + (back * lifts[k]) @ self.inputs[k]
            if k:
                back = (back * steeps[k]) @ self.roots[k - 1].square()
        return value + self.least * y.square().sum(dim=1), slope


def _softplus(x: Tensor) -> Tensor:
    """Without the threshold of torch's own, which leaves out 2e-9."""
    return torch.logaddexp(x, torch.zeros_like(x))

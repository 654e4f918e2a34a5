"""Stochastic equations whose solution along a Brownian path is known, for tests of solvers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.dynamics import GeometricBrownian
from tsode.numerics.brownian import BrownianPath
from tsode.numerics.sde import DiagonalSDE, Ito, Stratonovich


@dataclass(frozen=True)
class SDESystem:
    """An equation and ``exact(z0, tau, w)`` with ``z0`` (b d), ``tau`` (b,) and the path's value ``w`` (b d)."""

    sde: DiagonalSDE
    exact: Callable[[Tensor, Tensor, Tensor], Tensor]
    z0: Tensor


class StratonovichGrowth(Stratonovich):
    """``growth z dt + sigma z o dW``: the ordinary rules of calculus solve it."""

    growth, sigma = 0.3, 0.8

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        return self.growth * z

    def diffusion(self, t: Tensor, z: Tensor) -> Tensor:
        return self.sigma * z


class Sine(Ito):
    """``-sin(z) cos(z)**3 dt + cos(z)**2 dW``: it has the solution ``arctan(W + tan z0)``.

    Kloeden and Platen, eq. 4.4.46.
    """

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        return -z.sin() * z.cos() ** 3

    def diffusion(self, t: Tensor, z: Tensor) -> Tensor:
        return z.cos() ** 2


def growing() -> SDESystem:
    sde = GeometricBrownian(1).double()
    with torch.no_grad():
        sde.growth.fill_(0.4)
        sde.sigma.fill_(0.8)
    return SDESystem(sde, lambda z, tau, w: sde.along(z, tau, w).detach(), torch.ones(1, 1, dtype=torch.float64))


def growing_in_the_sense_of_stratonovich() -> SDESystem:
    sde = StratonovichGrowth(1)
    return SDESystem(
        sde,
        lambda z, tau, w: z * torch.exp(sde.growth * tau[:, None] + sde.sigma * w),
        torch.ones(1, 1, dtype=torch.float64),
    )


def sine() -> SDESystem:
    return SDESystem(
        Sine(1), lambda z, tau, w: torch.atan(w + torch.tan(z)), torch.full((1, 1), 0.4, dtype=torch.float64)
    )


SDE_SYSTEMS = {"growth": growing(), "stratonovich": growing_in_the_sense_of_stratonovich(), "sine": sine()}


def brownian(n_rows: int, n_noise: int = 1, reach: float = 1.0, seed: int = 0, **how: float) -> BrownianPath:
    """A path of its own for every row, from time 0."""
    generator = torch.Generator().manual_seed(seed)
    paths = BrownianPath.draw(generator, n_rows, n_noise, reach, **how)
    return paths.starting_at(torch.zeros(n_rows, dtype=torch.float64))

"""Systems of the benchmark of stability analysis."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.numerics.base import VectorField
from tsode.stability import Map

__all__ = [
    "HENON", "brusselator", "driven_pendulum", "lienard", "lorenz", "lorenz96", "predators", "roessler", "van_der_pol",
]  # fmt: skip

HENON = Map(lambda z: torch.stack([1 - 1.4 * z[:, 0] ** 2 + z[:, 1], 0.3 * z[:, 0]], dim=1))


def lorenz(rho: float = 28.0) -> VectorField:
    """Lorenz' equations of 1963."""

    def field(t: Tensor, z: Tensor) -> Tensor:
        x, y, w = z.unbind(dim=1)
        return torch.stack([10 * (y - x), x * (rho - w) - y, x * y - 8 / 3 * w], dim=1)

    return field


def roessler(t: Tensor, z: Tensor) -> Tensor:
    """Roessler's equations at (.2, .2, 5.7)."""
    x, y, w = z.unbind(dim=1)
    return torch.stack([-y - w, x + 0.2 * y, 0.2 + w * (x - 5.7)], dim=1)


def driven_pendulum(t: Tensor, z: Tensor) -> Tensor:
    """A chaotic pendulum, damped by a half, with a force of period ``3 pi``."""
    return torch.stack([z[:, 1], -z[:, 0].sin() - 0.5 * z[:, 1] + 1.5 * (2 / 3 * t).cos()], dim=1)


def van_der_pol(mu: float) -> VectorField:
    def field(t: Tensor, z: Tensor) -> Tensor:
        return torch.stack([z[:, 1], mu * (1 - z[:, 0] ** 2) * z[:, 1] - z[:, 0]], dim=1)

    return field


def brusselator(t: Tensor, z: Tensor) -> Tensor:
    """At its Hopf point, ``a = 1``, ``b = 2``."""
    x, y = z.unbind(dim=1)
    return torch.stack([1 - 3 * x + x**2 * y, 2 * x - x**2 * y], dim=1)


def lorenz96(t: Tensor, z: Tensor) -> Tensor:
    """Lorenz' equations of 1996 with a force of 8."""
    return (z.roll(-1, 1) - z.roll(2, 1)) * z.roll(1, 1) - z + 8.0


def lienard(t: Tensor, z: Tensor) -> Tensor:
    """Van der Pol's oscillator as a Lienard system, at its Hopf point."""
    x, y = z.unbind(dim=1)
    return torch.stack([y - x**3 / 3, -x], dim=1)


def predators(t: Tensor, z: Tensor) -> Tensor:
    """Rosenzweig and MacArthur's predators and prey at their Hopf point (1, 4/3)."""
    x, y = z.unbind(dim=1)
    eaten = x * y / (1 + x)
    return torch.stack([x * (1 - x / 3) - eaten, eaten - 0.5 * y], dim=1)

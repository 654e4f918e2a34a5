"""Vector fields whose solutions are known, for tests of solvers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.linalg import expm
from torch import Tensor

from tsode.numerics.base import VectorField

Exact = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class System:
    """A field and its flow: ``exact(z0, tau)`` with ``z0`` (b d) and ``tau`` (b,), from time 0."""

    field: VectorField
    exact: Exact
    z0: Tensor


def linear(matrix: list[list[float]], z0: list[float]) -> System:
    a = torch.tensor(matrix, dtype=torch.float64)
    return System(
        field=lambda t, z: z @ a.T,
        # torch.linalg.matrix_exp is accurate to 1e-10 only at some times
        exact=lambda z, tau: torch.einsum("bij,bj->bi", torch.from_numpy(expm((tau[:, None, None] * a).numpy())), z),
        z0=torch.tensor([z0], dtype=torch.float64),
    )


def logistic() -> System:
    return System(
        field=lambda t, z: z * (1 - z),
        exact=lambda z, tau: z / (z + (1 - z) * torch.exp(-tau)[:, None]),
        z0=torch.tensor([[0.1, 0.6]], dtype=torch.float64),
    )


def driven() -> System:
    """Reads the time: ``dz/dt = z cos t``."""
    return System(
        field=lambda t, z: z * torch.cos(t).to(z.dtype)[:, None],
        exact=lambda z, tau: z * torch.exp(torch.sin(tau))[:, None],
        z0=torch.tensor([[1.0, -0.5]], dtype=torch.float64),
    )


SYSTEMS = {
    "oscillator": linear([[0.0, 1.0], [-1.0, 0.0]], [1.0, 0.0]),
    "two_rates": linear([[-1.0, 1.0], [0.0, -30.0]], [1.0, 1.0]),
    "spiral": linear([[-0.2, 2.0, 0.0], [-2.0, -0.2, 0.3], [0.0, 0.0, -1.0]], [1.0, 0.5, -1.0]),
    "logistic": logistic(),
    "driven": driven(),
}

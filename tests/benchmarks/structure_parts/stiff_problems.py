"""Ten stiff problems of the literature: fields of many rows, where they begin, and how long they go.

Hairer and Wanner, "Solving Ordinary Differential Equations II", sections IV.1 and IV.10, and the Test Set for IVP
Solvers of Bari (Mazzia and Magherini).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.numerics.base import VectorField

__all__ = ["PROBLEMS", "StiffProblem", "robertson", "van_der_pol"]


@dataclass(frozen=True)
class StiffProblem:
    """A stiff field, its start, its end, and the size below which a state does not matter, in tolerances."""

    field: VectorField
    start: tuple[float, ...]
    until: float
    size: float = 1.0


def robertson(t: Tensor, z: Tensor) -> Tensor:
    x, y, w = z.unbind(dim=1)
    first, second, third = 0.04 * x, 1e4 * y * w, 3e7 * y * y
    return torch.stack([second - first, first - second - third, third], dim=1)


def van_der_pol(mu: float | Tensor) -> VectorField:
    return lambda t, z: torch.stack([z[:, 1], mu * (1 - z[:, 0] ** 2) * z[:, 1] - z[:, 0]], dim=1)


def _hires(t: Tensor, z: Tensor) -> Tensor:
    a, b, c, d, e, f, g, h = z.unbind(dim=1)
    fh = 280.0 * f * h
    return torch.stack(
        [
            -1.71 * a + 0.43 * b + 8.32 * c + 0.0007,
            1.71 * a - 8.75 * b,
            -10.03 * c + 0.43 * d + 0.035 * e,
            8.32 * b + 1.71 * c - 1.12 * d,
            -1.745 * e + 0.43 * f + 0.43 * g,
            -fh + 0.69 * d + 1.71 * e - 0.43 * f + 0.69 * g,
            fh - 1.81 * g,
            -fh + 1.81 * g,
        ],
        dim=1,
    )


def _orego(t: Tensor, z: Tensor) -> Tensor:
    a, b, c = z.unbind(dim=1)
    return torch.stack([77.27 * (b + a * (1 - 8.375e-6 * a - b)), (c - (1 + a) * b) / 77.27, 0.161 * (a - c)], dim=1)


def _linear(t: Tensor, z: Tensor) -> Tensor:
    return -1e5 * (z - torch.cos(t)[:, None])


_N_CELLS = 20


def _brusselator(t: Tensor, z: Tensor) -> Tensor:
    u, v = z[:, :_N_CELLS], z[:, _N_CELLS:]
    spread = (_N_CELLS + 1) ** 2 / 50

    def bend(x: Tensor, edge: float) -> Tensor:
        x = torch.nn.functional.pad(x, (1, 1), value=edge)
        return spread * (x[:, :-2] - 2 * x[:, 1:-1] + x[:, 2:])

    made = u * u * v
    return torch.cat([1 + made - 4 * u + bend(u, 1.0), 3 * u - made + bend(v, 3.0)], dim=1)


def _brusselator_start() -> tuple[float, ...]:
    x = torch.arange(1, _N_CELLS + 1, dtype=torch.float64) / (_N_CELLS + 1)
    return (*(1 + torch.sin(2 * torch.pi * x)).tolist(), *[3.0] * _N_CELLS)


def _e5(t: Tensor, z: Tensor) -> Tensor:
    a, b, c, d = z.unbind(dim=1)
    first, second, third, fourth = 7.89e-10 * a, 1.1e7 * a * c, 1.13e9 * b * c, 1.13e3 * d
    return torch.stack([-first - second, first - third, first - second + fourth - third, second - fourth], dim=1)


# Reactions of the air over a town (Verwer): rate, what they use and what they make, by numbers of the twenty species.
_REACTIONS: tuple[tuple[float, tuple[int, ...], tuple[int, ...]], ...] = (
    (0.35, (1,), (2, 3)), (26.6, (2, 4), (1,)), (1.23e4, (2, 5), (1, 6)), (8.6e-4, (7,), (5, 5, 8)),
    (8.2e-4, (7,), (8,)), (1.5e4, (6, 7), (5, 8)), (1.3e-4, (9,), (5, 8, 10)), (2.4e4, (6, 9), (11,)),
    (1.65e4, (2, 11), (1, 10, 12)), (9e3, (1, 11), (13,)), (0.022, (13,), (1, 11)), (1.2e4, (2, 10), (1, 14)),
    (1.88, (14,), (5, 7)), (1.63e4, (1, 6), (15,)),
    (4.8e6, (3,), (4,)), (3.5e-4, (4,), (16,)), (0.0175, (4,), (3,)), (1e8, (16,), (6, 6)),
    (4.44e11, (16,), (3,)), (1240.0, (6, 17), (5, 18)), (2.1, (19,), (2,)), (5.78, (19,), (1, 3)),
    (0.0474, (1, 4), (19,)), (1780.0, (1, 19), (20,)), (3.12, (20,), (1, 19)),
)  # fmt: skip
_AIR = {2: 0.2, 4: 0.04, 7: 0.1, 8: 0.3, 9: 0.01, 17: 0.007}


def _air() -> VectorField:
    rates = torch.tensor([rate for rate, _, _ in _REACTIONS], dtype=torch.float64)
    first = torch.tensor([used[0] - 1 for _, used, _ in _REACTIONS])
    second = torch.tensor([used[1] - 1 if len(used) == 2 else 20 for _, used, _ in _REACTIONS])
    change = torch.zeros(len(_REACTIONS), 20, dtype=torch.float64)
    for row, (_, used, made) in zip(change, _REACTIONS):
        for species in used:
            row[species - 1] -= 1
        for species in made:
            row[species - 1] += 1

    def field(t: Tensor, z: Tensor) -> Tensor:
        with_one = torch.cat([z, torch.ones_like(z[:, :1])], dim=1)
        return (rates * with_one[:, first] * with_one[:, second]) @ change

    return field


PROBLEMS = {
    "Robertson": StiffProblem(robertson, (1.0, 0.0, 0.0), 1e5, 1e-6),
    "van der Pol, mu = 10": StiffProblem(van_der_pol(10.0), (2.0, 0.0), 40.0),
    "van der Pol, mu = 100": StiffProblem(van_der_pol(100.0), (2.0, 0.0), 300.0),
    "van der Pol, mu = 1000": StiffProblem(van_der_pol(1000.0), (2.0, 0.0), 2000.0),
    "HIRES": StiffProblem(_hires, (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0057), 321.8122, 1e-2),
    "OREGO": StiffProblem(_orego, (1.0, 2.0, 3.0), 360.0),
    "behind a cosine by 1e5": StiffProblem(_linear, (0.0,), 10.0),
    "Brusselator in 20 cells": StiffProblem(_brusselator, _brusselator_start(), 10.0),
    "E5": StiffProblem(_e5, (1.76e-3, 0.0, 0.0, 0.0), 1e11, 1e-16),
    "air over a town": StiffProblem(_air(), tuple(_AIR.get(k, 0.0) for k in range(1, 21)), 60.0, 1e-3),
}

"""Backward equations in 100 dimensions: Hamilton-Jacobi-Bellman and Allen-Cahn, and a price with two rates."""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from scipy import integrate, stats
from torch import Tensor

from tests.benchmarks.structural_parts.report import Report
from tests.control.two_rates import price_with_two_rates
from tsode.control import BackwardSolution, backward_sde
from tsode.dynamics.geometric_brownian import GeometricBrownian

__all__ = ["run"]

N = 100
ALLEN_CAHN = 0.0528  # u(.3, 0): Han, Jentzen & E 2018, by branching diffusion, of three digits
N_SEEDS = 3  # all of them have to reach the bars


def run(report: Report) -> None:
    exact = cole_hopf()
    report.note(f"Hamilton-Jacobi-Bellman: u(0, 0) by Cole and Hopf, by quadrature: {exact:.6f}")
    for seed in range(report.count(N_SEEDS)):
        found, seconds = timed(seed, 1.0, log_norm, lambda t, x, y, z: -0.5 * z.square().sum(dim=1))
        told(report, f"Hamilton-Jacobi-Bellman, seed {seed}", found, seconds)
        report.at_most("HJB: |value / exact - 1|", abs(found.value / exact - 1.0), 0.01)
    for seed in range(report.count(N_SEEDS)):
        found, seconds = timed(
            seed, 0.3, lambda x: 1.0 / (2.0 + 0.4 * x.square().sum(dim=1)), lambda t, x, y, z: y - y**3
        )
        told(report, f"Allen-Cahn, seed {seed}", found, seconds)
        report.at_most("Allen-Cahn: |value / .0528 - 1|", abs(found.value / ALLEN_CAHN - 1.0), 0.02)
    two_rates(report)


def two_rates(report: Report) -> None:
    """Price of a call spread where borrowing costs more than lending earns, beside a grid in one dimension."""
    settings = {"growth": 0.05, "sigma": 0.2, "lend": 0.04, "borrow": 0.06, "strikes": (95.0, 105.0)}
    exact = price_with_two_rates(100.0, 0.5, **settings)
    equation = GeometricBrownian(1).double()
    with torch.no_grad():
        equation.growth.fill_(settings["growth"])
        equation.sigma.fill_(settings["sigma"])

    def spread(x: Tensor) -> Tensor:
        return (x[:, 0] - 95.0).clamp(min=0.0) - 2.0 * (x[:, 0] - 105.0).clamp(min=0.0)

    def driver(t: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        lent = (z[:, 0] / settings["sigma"] - y).clamp(min=0.0)
        return -settings["lend"] * y - (0.05 - 0.04) / 0.2 * z[:, 0] + (0.06 - 0.04) * lent

    started = time.process_time()
    found = backward_sde(
        equation, spread, driver, [100.0], 0.5, n_steps=50, n_paths=report.count(400_000), degree=4, random_state=0
    )
    told(report, f"two rates, regression, exact {exact:.4f}", found, time.process_time() - started)
    report.at_most("two rates: |value / exact - 1|", abs(found.value / exact - 1.0), 0.01)


def log_norm(x: Tensor) -> Tensor:
    return (0.5 * (1.0 + x.square().sum(dim=1))).log()


def cole_hopf() -> float:
    """``-log E exp(-g(sqrt(2) W))``: the square of its norm is 2 times chi-square."""
    value, _ = integrate.quad(lambda s: stats.chi2.pdf(s, N) * 2.0 / (1.0 + 2.0 * s), 0.0, 400.0, limit=500)
    return -math.log(value)


def timed(seed: int, horizon: float, g: object, f: object) -> tuple[BackwardSolution, float]:
    """The solution along ``sqrt(2) W`` from 0, by the settings that are the default, and its CPU seconds."""
    walk = (lambda t, x: torch.zeros_like(x), lambda t, x: torch.full_like(x, math.sqrt(2.0)))
    started = time.process_time()
    found = backward_sde(walk, g, f, np.zeros(N), horizon, method="network", random_state=seed)  # type: ignore[arg-type]
    return found, time.process_time() - started


def told(report: Report, what: str, found: BackwardSolution, seconds: float) -> None:
    report.note(
        f"{what}: {found.value:.6f} +- {found.error:.6f}, loss {found.loss:.4f}, spread of the last fifth of the "
        f"iterations {found.spread:.2g}, {seconds:.1f} CPU-s"
    )

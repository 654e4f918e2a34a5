"""FOCEI of 50 to 5,000 subjects with eight levels each after a dose that is swallowed, and a whole fit of 500."""

from __future__ import annotations

import time

import numpy as np
import torch

from tests.benchmarks.structural_parts.report import Report
from tests.inference.population.known_populations import oral
from tsode.inference.known_density import KnownDensity
from tsode.inference.population.estimate import maximum_likelihood
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods import METHODS

__all__ = ["run"]

TIMES = np.array([0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0, 24.0])
SIZES, WHOLE, MOST_SECONDS, FEW = (50, 500, 5000), 500, 60.0, 20
ALIKE = 1.5  # cost of a subject among many, in that of one among 500


def simulated(n: int, seed: int = 0) -> KnownDensity:
    """One compartment: ka 1.5, cl 3, v 30, with 30 % between subjects, additive noise of .5."""
    generator = np.random.default_rng(seed)
    ka, cl, v = (middle * np.exp(0.3 * generator.standard_normal((n, 1))) for middle in (1.5, 3.0, 30.0))
    ke = cl / v
    level = 320.0 / v * ka / (ka - ke) * (np.exp(-ke * TIMES) - np.exp(-ka * TIMES))
    return oral(np.tile(TIMES, (n, 1)), level + 0.5 * generator.standard_normal(level.shape), np.full(n, 320.0))


def run(report: Report) -> None:
    each = {}
    for n in SIZES:
        density = MarginalDensity(simulated(n), METHODS["focei"]())
        u = torch.zeros(1, 1, len(density.names), dtype=torch.float64).requires_grad_()
        started = time.process_time()
        torch.autograd.grad(density.log_prob(u).sum(), u)
        each[n] = (time.process_time() - started) / n
        report.note(f"{n} subjects: {1e3 * each[n]:.2f} CPU-ms a subject for a value with its gradient, modes from 0")
    report.at_most("cost of a subject among 5,000 in that among 500", each[5000] / each[500], ALIKE)
    alone = [_alone(k) for k in range(FEW)]
    report.note(f"one by one in a loop: {1e3 * float(np.median(alone)):.1f} CPU-ms a subject")
    density = MarginalDensity(simulated(WHOLE), METHODS["focei"]())
    started = time.process_time()
    found = maximum_likelihood(density, torch.Generator().manual_seed(0), n_starts=1, n_prior=16)
    seconds = time.process_time() - started
    report.note(f"objective {found.objective:.3f}, {'converged' if bool(found.is_done[0]) else 'not converged'}")
    report.at_most(f"CPU seconds of a fit of {WHOLE} subjects", seconds, MOST_SECONDS)


def _alone(seed: int) -> float:
    density = MarginalDensity(simulated(1, seed), METHODS["focei"]())
    u = torch.zeros(1, 1, len(density.names), dtype=torch.float64).requires_grad_()
    started = time.process_time()
    torch.autograd.grad(density.log_prob(u).sum(), u)
    return time.process_time() - started

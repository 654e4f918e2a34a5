"""Particle filters and smoothers beside sums over a grid: double wells, and prey and predators."""

from __future__ import annotations

import math
import time

import torch

from tests.assimilation.on_grid_cases import CASES, Case
from tests.benchmarks.structural_parts.report import Report
from tsode.assimilation.filters.guided import GuidedFilter
from tsode.assimilation.filters.particle import ParticleFilter

__all__ = ["run"]

N_RUNS, N_PATHS = 80, 25  # how much of the law each of two modes has is a matter of runs, not of paths
N_PARTICLES = {(1, ParticleFilter): 6000, (2, ParticleFilter): 1500, (1, GuidedFilter): 2000, (2, GuidedFilter): 1500}
STEPS = {1: 16, 2: 4}  # of particles from value to value, by the number of states
EXACT = {1: (1 / 80, 1.5), 2: (0.05, 1.0)}  # longest step of the grid, and share of its points: both to .003
BAR = 0.05


def run(report: Report) -> None:
    for name, case in CASES.items():
        compare(report, name, case)


def compare(report: Report, name: str, case: Case) -> None:
    values = case.data()
    truth = case.by_grid(values, *EXACT[case.d])
    report.note(f"{name}: log likelihood by the grid {truth.log_prob:.4f}")
    n_runs = report.count(N_RUNS)
    for kind in (ParticleFilter, GuidedFilter):
        started = time.process_time()
        log_prob, means = case.by_particles(values, kind(N_PARTICLES[case.d, kind]), n_runs, STEPS[case.d], N_PATHS)
        seconds = time.process_time() - started
        pooled = float(log_prob.logsumexp(dim=0)) - math.log(n_runs)
        pooled_means = torch.einsum("r,r...->...", log_prob.softmax(dim=0), means)
        who = f"{name}, {kind.__name__}"
        report.at_most(f"{who}: |log likelihood - grid|", abs(pooled - truth.log_prob), BAR)
        report.at_most(f"{who}: |smoothed means - grid|", float((pooled_means - truth.smoothed).abs().max()), BAR)
        sd, n = float(log_prob.std()), N_PARTICLES[case.d, kind]
        report.note(f"{n} particles: sd of one run's log likelihood {sd:.3f}, {seconds:.1f} CPU-s")

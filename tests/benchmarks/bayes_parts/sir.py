"""Epidemic with a reservoir, counts and a log-normal channel, beside a million published reference draws.

The draws are those of `sir` of stat_comp_benchmarks (Betancourt 2017). Half-Cauchy priors: some solves are stiff.
"""

from __future__ import annotations

from tests.benchmarks.bayes_parts.answers import distance, tell_cost
from tests.benchmarks.structural_parts.report import Report
from tests.inference.known_examples import sir
from tsode.inference.infer import infer

__all__ = ["run"]

REFERENCE = {
    "beta": (1.0120, 0.04293), "gamma": (0.19979, 0.00864), "xi": (10.546, 0.7169), "delta": (0.35613, 0.02530),
}  # fmt: skip
N_SEEDS = 3


def run(report: Report) -> None:
    density = sir()
    for seed in range(report.count(N_SEEDS)):
        posterior = infer(density, random_state=seed)
        tell_cost(report, f"seed {seed}", posterior)
        apart = distance(density, posterior, REFERENCE)
        report.at_most(f"seed {seed}: error of means, in standard deviations", apart.mean, 0.1)
        report.at_most(f"seed {seed}: error of standard deviations, relative", apart.sd, 0.08)
        report.at_most(f"seed {seed}: CPU seconds", posterior.effort.cpu_seconds, 30.0)

"""Lynx and hare from twenty seeds, beside 10,000 published reference draws.

The draws are posteriordb's `hudson_lynx_hare-lotka_volterra` (Magnusson et al. 2024). The density has another mode, 40
nats below, that most starts come to.
"""

from __future__ import annotations

import statistics

from tests.benchmarks.bayes_parts.answers import distance, tell_cost
from tests.benchmarks.structural_parts.report import Report
from tests.inference.known_examples import lynx_hare
from tsode.inference.infer import infer

__all__ = ["REFERENCE", "run"]

REFERENCE = {
    "alpha": (0.546864, 0.063055), "beta": (0.027747, 0.004155), "gamma": (0.800095, 0.089370),
    "delta": (0.024086, 0.003528), "hare_initial": (34.0352, 2.9169), "lynx_initial": (5.93590, 0.53055),
    "sigma_hare": (0.248057, 0.043263), "sigma_lynx": (0.251017, 0.043590),
}  # fmt: skip
LOG_EVIDENCE = -146.68
N_SEEDS = 20
FALSE_ALPHA = 0.999  # of the other mode


def run(report: Report) -> None:
    density = lynx_hare()
    n_true, found, seconds = 0, [], []
    for seed in range(report.count(N_SEEDS)):
        posterior = infer(density, random_state=seed)
        tell_cost(report, f"seed {seed}", posterior)
        apart = distance(density, posterior, REFERENCE)
        n_true += apart.mean < 1.0  # the other mode is seven of them away
        alphas = density.space.constrain(posterior.modes.point)[0, :, density.names.index("alpha")]
        has_false = bool(((alphas - FALSE_ALPHA).abs() < 0.1).any())
        found.append((*apart, abs(float(posterior.log_evidence[0]) - LOG_EVIDENCE), has_false))
        seconds.append(posterior.effort.cpu_seconds)
    means, sds, evidences, has_false = zip(*found)
    n = len(found)
    report.at_least("seeds in the true mode, of all", n_true / n, 1.0)
    report.at_least("seeds that tell of the other mode, of all", sum(has_false) / n, 1.0)
    report.at_most("error of means, in standard deviations: median", statistics.median(means), 0.05)
    report.at_most("error of means, in standard deviations: worst", max(means), 0.1)
    report.at_most("error of standard deviations, relative: median", statistics.median(sds), 0.05)
    report.at_most("error of standard deviations, relative: worst", max(sds), 0.1)
    report.at_most("error of the log evidence: worst", max(evidences), 0.15)
    report.at_most("CPU seconds of a seed: worst", max(seconds), 20.0)

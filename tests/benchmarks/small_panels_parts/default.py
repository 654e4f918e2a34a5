"""Default forecaster on small panels: excess squared error over the optimum, what 90 % intervals hold, CPU seconds.

Seeds are training panels and random states; the 600 test series are the same for all. What intervals hold has a bar
over all leads and, a wider one, in each fifth of them, for every seed.
"""

from __future__ import annotations

import numpy as np

from tests.benchmarks.small_panels_parts.excess import BARS, SEEDS, Trial
from tests.benchmarks.small_panels_parts.families import FAMILIES
from tests.benchmarks.small_panels_parts.forecasters import forecaster
from tests.benchmarks.structural_parts.report import Report

__all__ = ["run"]


def run(report: Report) -> None:
    for name, family in FAMILIES.items():
        trial = Trial(name, family)
        trial.describe(report)
        for n, bar in BARS[name].items():
            scores = [trial.score(forecaster, n, seed) for seed in report.some(SEEDS)]
            shares, parts = np.array([score.share for score in scores]), np.array([score.parts for score in scores])
            what = f"{name}, {n} series"
            report.at_most(f"{what}: per cent above the optimum", float(np.mean([s.excess for s in scores])), bar)
            report.within(f"{what}: least that 90 % intervals of a seed hold", float(shares.min()), 87.0, 92.0)
            report.within(f"{what}: most that 90 % intervals of a seed hold", float(shares.max()), 87.0, 92.0)
            report.within(f"{what}: least in a fifth of the leads of a seed", float(parts.min()), 86.0, 94.0)
            report.within(f"{what}: most in a fifth of the leads of a seed", float(parts.max()), 86.0, 94.0)
            report.note(f"fit {np.mean([score.seconds for score in scores]):.1f} CPU-s")

"""Rates that differ between series: excess squared error over the optimum, and what 90 % intervals hold.

Seeds are training panels; the 600 test series are the same for all.
"""

from __future__ import annotations

import numpy as np

from tests.benchmarks.small_panels_parts.excess import BARS, SEEDS, Trial
from tests.benchmarks.small_panels_parts.families import FAMILIES
from tests.benchmarks.small_panels_parts.forecasters import rated
from tests.benchmarks.structural_parts.report import Report

__all__ = ["run"]


def run(report: Report) -> None:
    for name, family in FAMILIES.items():
        trial = Trial(name, family)
        trial.describe(report)
        for n, bar in BARS[name].items():
            scores = [trial.score(rated, n, seed) for seed in report.some(SEEDS)]
            shares = [score.share for score in scores]
            report.at_most(
                f"{name}, {n} series: per cent above the optimum", float(np.mean([s.excess for s in scores])), bar
            )
            report.within(f"{name}, {n} series: least that 90 % intervals hold", min(shares), 87.0, 92.0)
            report.within(f"{name}, {n} series: most that 90 % intervals hold", max(shares), 87.0, 92.0)
            report.note(f"fit {np.mean([score.seconds for score in scores]):.1f} CPU-s")

"""Families whose classes are not ours: excess squared error over the optimum, printed without a bar."""

from __future__ import annotations

import numpy as np

from tests.benchmarks.small_panels_parts.excess import SEEDS, Trial
from tests.benchmarks.small_panels_parts.forecasters import forecaster, rated
from tests.benchmarks.small_panels_parts.other_families import OTHER_FAMILIES
from tests.benchmarks.structural_parts.report import Report

__all__ = ["run"]

SIZES = (50, 200, 1000)


def run(report: Report) -> None:
    for name, family in OTHER_FAMILIES.items():
        trial = Trial(name, family)
        trial.describe(report)
        for n in SIZES:
            for make in (forecaster, rated):
                scores = [trial.score(make, n, seed) for seed in report.some(SEEDS)]
                excess, shares, seconds = (
                    [getattr(score, field) for score in scores] for field in ("excess", "share", "seconds")
                )
                report.note(
                    f"{name}, {n} series, {make.__name__}: {np.mean(excess):.2f} % above the optimum, 90 % intervals "
                    f"hold {min(shares):.1f} to {max(shares):.1f} %, fit {np.mean(seconds):.1f} CPU-s"
                )

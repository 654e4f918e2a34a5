"""CPU seconds of an automatic fit of one thread, by length and by number of series, and what dominates them.

Series have a slope, a season of one unit of time, an Ornstein-Uhlenbeck part and noise, at uneven times, some fifty a
unit (no two gaps are alike, so that every step has numbers of its own).
"""

from __future__ import annotations

import cProfile
import pstats
import time

import numpy as np
import pandas as pd

from tests.benchmarks.structural_parts.fits import fit
from tests.benchmarks.structural_parts.report import Report
from tsode import LinearSDEForecaster

__all__ = ["run"]

SINGLE = {300: 5.0, 3_000: 25.0, 30_000: 60.0, 100_000: 200.0}
N_SERIES, LENGTH, PANEL = 1_000, 100, 120.0


def series_of(n: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    gaps = 0.02 * generator.uniform(0.5, 1.5, n)
    times, decay = np.cumsum(gaps), np.exp(-gaps / 0.1)
    rough, noise = np.zeros(n), generator.standard_normal(n) * np.sqrt(1.0 - decay**2)
    for k in range(1, n):
        rough[k] = decay[k] * rough[k - 1] + noise[k]
    season = np.sin(2 * np.pi * times) + 0.5 * np.cos(4 * np.pi * times)
    return times, 0.3 * times + season + 0.3 * rough + 0.1 * generator.standard_normal(n)


def run(report: Report) -> None:
    generator = np.random.default_rng(0)
    for n, bar in SINGLE.items():
        _, seconds = fit(*series_of(n, generator))
        report.at_most(f"one series of {n:,}, CPU-s", seconds, bar)
    profile = cProfile.Profile(time.process_time)
    profile.runcall(fit, *series_of(300, generator))
    _show(profile, report)
    panel = [series_of(LENGTH, generator) for _ in range(report.count(N_SERIES))]
    frame = pd.concat(
        [pd.DataFrame({"unique_id": k, "ds": times, "y": values}) for k, (times, values) in enumerate(panel)]
    )
    for per_series in (False, True):
        started = time.process_time()
        LinearSDEForecaster(components="auto", support="auto", per_series=per_series, random_state=0).fit(frame)
        what = "each its own parameters" if per_series else "one set of parameters"
        report.at_most(f"{len(panel):,} series of {LENGTH}, {what}, CPU-s", time.process_time() - started, PANEL)


def _show(profile: cProfile.Profile, report: Report) -> None:
    """The functions whose own lines took the longest, of a fit at n = 300."""
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in stats.values())
    longest = sorted(stats.items(), key=lambda item: -item[1][2])[:6]
    parts = [f"{name} {100 * own / total:.0f} %" for (_, _, name), (_, _, own, _, _) in longest]
    report.note(f"own time of functions at n = 300: {', '.join(parts)}")

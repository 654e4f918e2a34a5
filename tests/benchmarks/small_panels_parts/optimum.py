"""Simulated problems of the literature on neural jump ODEs: squared error by that of the optimum.

Forecasts are asked at every step of a grid, each from what was seen strictly before it, and compared with the noiseless
truth. Trained on are the problems' `n_paths`, or a share of them: fewer than in the literature where that has 100,000,
except for CIR. A linear SDE is shown no more than 4,000, and has no bars.
"""

from __future__ import annotations

import time

import numpy as np

from tests.benchmarks.small_panels_parts.forecasters import forecaster, rated
from tests.benchmarks.small_panels_parts.optima.black_scholes import DependentObservations, LongGaps
from tests.benchmarks.small_panels_parts.optima.cir import CIR
from tests.benchmarks.small_panels_parts.optima.double_pendulum import DoublePendulum
from tests.benchmarks.small_panels_parts.optima.gaussian_problems import (
    FractionalBrownian,
    filtering,
    noisy_brownian,
    ornstein_uhlenbeck,
    time_lag,
    uncertain_drift,
)
from tests.benchmarks.small_panels_parts.optima.paths import Problem
from tests.benchmarks.structural_parts.report import Report

__all__ = ["PROBLEMS", "run"]

SEED, TEST_SEED = 1, 10_000
FEWEST_TESTED = 500  # however small the share
MOST_FOR_LINEAR = 4_000

LINEAR: list[Problem] = [ornstein_uhlenbeck(), noisy_brownian(), filtering(0.1), filtering(0.25), uncertain_drift()]
OTHERS: list[Problem] = [
    ornstein_uhlenbeck(is_drawn=True),
    noisy_brownian(is_drawn=True),
    time_lag(),
    *(FractionalBrownian(hurst) for hurst in (0.05, 0.25, 0.75, 0.95)),
    DependentObservations(),
    *(LongGaps(chance) for chance in (0.1, 0.4)),
    LongGaps(0.1, is_drawn=True),
    CIR(),
    *(DoublePendulum(chance) for chance in (0.1, 0.25)),
]
PROBLEMS = LINEAR + OTHERS


def run(report: Report) -> None:
    for problem in PROBLEMS:
        n_test = max(report.count(problem.n_test), FEWEST_TESTED)
        test = problem.simulate(n_test, np.random.default_rng(TEST_SEED), is_test=True)
        best = problem.best(test)
        for make in (forecaster, rated) if problem in LINEAR else (forecaster,):
            n = report.count(problem.n_paths)
            n = min(n, MOST_FOR_LINEAR) if make is rated else n
            train = problem.simulate(n, np.random.default_rng(SEED)).seen()
            started = time.process_time()
            model = make(SEED, horizon=problem.horizon).fit(train)
            seconds = time.process_time() - started
            table = model.predict(test.asked(), context=test.seen())
            forecast = np.full_like(test.truth, np.nan)
            forecast[test.is_asked] = table[[column for column in train if column.startswith("x")]].to_numpy()
            problem.tell(report, make.__name__, test, best, forecast, has_bar=make is forecaster)
            report.note(f"{n} paths, fit {seconds:.0f} CPU-s")

"""Bands of hybrids: the share of new values that they hold, of systems with an inflow that is left to the network."""

from __future__ import annotations

import numpy as np

from tests.benchmarks.structural_parts.report import Report
from tests.estimators.known_ode.test_residual import TIMES, fitted_with_residual, frame

__all__ = ["run"]

N_SERIES = 20


def run(report: Report) -> None:
    """Measure 90 % bands of values between the rows that were seen."""
    n_series, inside = report.count(N_SERIES), []
    for seed in range(n_series):
        generator = np.random.default_rng(100 + seed)
        k, inflow = 0.5 * np.exp(0.2 * generator.standard_normal()), generator.uniform(0.0, 1.5)
        level = inflow / k + (10.0 - inflow / k) * np.exp(-k * TIMES)
        data = frame(level, seed)
        is_kept = np.arange(len(TIMES)) % 3 != 2
        fitted = fitted_with_residual(data[is_kept])
        ways = fitted.trajectories(TIMES[~is_kept].tolist(), n_draws=200)
        noise = 0.1 * generator.standard_normal(len(ways))
        drawn = (ways["drug"] + noise).groupby(ways["ds"])
        low, high = drawn.quantile(0.05).to_numpy(), drawn.quantile(0.95).to_numpy()
        new = data["level"].to_numpy()[~is_kept]
        inside += list((low <= new) & (new <= high))
    # six standard errors of a share of .9 among as many values, which share their series: a quarter count
    error = 6 * (0.9 * 0.1 / (len(inside) / 4)) ** 0.5
    report.within(f"share of {len(inside)} values in bands of 90 %", float(np.mean(inside)), 0.9 - error, 0.9 + error)

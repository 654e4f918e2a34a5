"""Lyapunov exponents of chaotic systems beside published values, by default settings, with errors that cover."""

from __future__ import annotations

import math
import time

import numpy as np
import pandas as pd

from tests.benchmarks.stability_parts.systems import HENON, driven_pendulum, lorenz, roessler
from tests.benchmarks.structural_parts.report import Report
from tsode.stability import finite_time_exponents, lyapunov_spectrum, period_map, predictability_horizon

__all__ = ["run"]

N_SEEDS = 20
LORENZ = (0.9056, 0.0, -14.5723)
# Standard errors in which all of twenty estimates lie with a chance of .95.
COVERS = 3.0
PERIOD = 3 * math.pi


def run(report: Report) -> None:
    lorenz_table(report)
    horizon(report)
    table = lyapunov_spectrum(roessler, [1.0, 1.0, 1.0])
    show(report, "Roessler", table)
    report.at_most("Roessler: first exponent from .0706", abs(float(table.iloc[0, 0]) - 0.0706), 0.002)
    report.at_most("Roessler: sum from the mean divergence", table.attrs["trace_error"], 1e-4)
    henon(report)
    pendulum(report)


def show(report: Report, name: str, table: pd.DataFrame) -> None:
    pairs = ", ".join(f"{value:.5f} +- {error:.5f}" for value, error in table.to_numpy())
    report.note(f"{name}: {pairs}; in all {table.attrs['duration']:.4g} of time")


def lorenz_table(report: Report) -> None:
    """Twenty tables of other orbits each, and what one costs."""
    found, errors, seconds = [], [], []
    for seed in range(report.count(N_SEEDS)):
        started = time.process_time()
        table = lyapunov_spectrum(lorenz(), [1.0, 1.0, 1.0], random_state=seed)
        seconds.append(time.process_time() - started)
        found.append(table.iloc[:, 0].to_numpy())
        errors.append(table["standard_error"].to_numpy())
        show(report, f"Lorenz, seed {seed}", table)
    values, sizes = np.stack(found), np.stack(errors)
    away = (values - LORENZ) / sizes
    report.at_most("Lorenz: first exponent from .9056, the worst seed", np.abs(values[:, 0] - 0.9056).max(), 0.01)
    report.at_most("Lorenz: its standard error, the worst seed", sizes[:, 0].max(), 0.003)
    n_covered = int((np.abs(away[:, 0]) <= COVERS).sum())
    report.at_least(f"Lorenz: seeds on which {COVERS:g} standard errors cover .9056", n_covered, len(values))
    report.note(f"two standard errors cover it on {int((np.abs(away[:, 0]) <= 2).sum())} of {len(values)}")
    if len(values) > 2:
        for i, name in enumerate(("first", "second", "third")):
            spread = float(away[:, i].std(ddof=1))
            # of twenty the standard deviation lies between .6 and 1.45 with a chance of .99
            report.within(f"Lorenz: spread of the {name} exponent over seeds, in its errors", spread, 0.6, 1.45)
        report.note(f"means over seeds {values.mean(axis=0).round(5).tolist()}")
    report.at_most("Lorenz: sum from -41/3, the worst seed", np.abs(values.sum(axis=1) + 41 / 3).max(), 1e-3)
    report.at_most("Lorenz: CPU-s of a table, the mean of the seeds", float(np.mean(seconds)), 60.0)
    report.note(f"CPU-s of a table: {min(seconds):.1f} to {max(seconds):.1f}, of all {sum(seconds):.0f}")


def horizon(report: Report) -> None:
    error = abs(predictability_horizon(0.9056, 1e-6, 1e-1) - 12.713036)
    report.at_most("horizon of 1e-6 to 1e-1 at .9056, from 12.713036", error, 1e-6)


def henon(report: Report) -> None:
    table = lyapunov_spectrum(HENON, [0.1, 0.1])
    show(report, "Henon", table)
    error = abs(float(table.iloc[0, 0]) - 0.4194)
    # the published value has an error of .0004
    report.at_most("Henon: first exponent from .4194, in standard errors of both", error / math.hypot(
        float(table["standard_error"].iloc[0]), 0.0004), COVERS)  # fmt: skip
    report.at_most("Henon: sum from log .3", abs(table.attrs["sum"] - math.log(0.3)), 1e-9)


def pendulum(report: Report) -> None:
    """Flow and period map of a driven one."""
    stepping = period_map(driven_pendulum, PERIOD)
    starts = [[0.3, 0.7], [2.0, -1.0]]
    by_steps = finite_time_exponents(stepping, starts, [1, 2]).filter(like="exponent").to_numpy()
    along = finite_time_exponents(driven_pendulum, starts, [PERIOD, 2 * PERIOD]).filter(like="exponent").to_numpy()
    report.at_most("driven pendulum: finite-time exponents per step from period x those of the field",
                   np.abs(by_steps - PERIOD * along).max(), 1e-6)  # fmt: skip
    field = lyapunov_spectrum(driven_pendulum, [0.3, 0.7])
    steps = lyapunov_spectrum(stepping, [0.3, 0.7], duration=40, transient=20)
    show(report, "driven pendulum, per unit", field)
    show(report, "driven pendulum, per step", steps)
    gap = abs(float(steps.iloc[0, 0]) - PERIOD * float(field.iloc[0, 0]))
    error = math.hypot(float(steps.iloc[0, 1]), PERIOD * float(field.iloc[0, 1]))
    report.at_most("driven pendulum: map and field apart, in their standard errors", gap / error, COVERS)
    report.at_most("driven pendulum: sum from minus the damping", abs(field.attrs["sum"] + 0.5), 1e-5)
    report.at_most("driven pendulum: sum per step from its", abs(steps.attrs["sum"] + 0.5 * PERIOD), 1e-5)
    report.at_least("driven pendulum: says that the clock's exponent is left out", field.attrs["is_clock_left_out"], 1)

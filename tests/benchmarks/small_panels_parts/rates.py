"""Rates that differ between series: excess squared error over the optimum, and what 90 % intervals hold.

Seeds are training panels; the 600 test series are the same for all.
"""

from __future__ import annotations

import time

import numpy as np

from tests.benchmarks.small_panels_parts.families import FAMILIES, HISTORY, HORIZON
from tests.benchmarks.structural_parts.report import Report
from tsode import LinearSDEForecaster

__all__ = ["run"]

N_TEST, TEST_SEED = 600, 10_000
SEEDS = list(range(1, 8))
BARS = {"OU": {50: 1.5, 200: 0.4, 1000: 0.2}, "oscillators": {50: 5.0, 200: 3.5, 1000: 1.0}}  # per cent


def run(report: Report) -> None:
    for name, family in FAMILIES.items():
        test = family.simulate(N_TEST, np.random.default_rng(TEST_SEED))
        truth = family.best(test)
        least = float(np.mean((truth.value - truth.best) ** 2))
        report.note(f"{name}: the optimum's squared error is {least:.4f} on {len(truth.value)} values")
        rows = test.frame()
        history, ahead = rows[rows["ds"] <= HISTORY], rows[rows["ds"] > HISTORY]
        channels = [column for column in rows.columns if column.startswith("y")]
        seen = ahead[channels].notna().to_numpy()
        y = ahead[channels].to_numpy()
        for n, bar in BARS[name].items():
            excess, shares, seconds = [], [], []
            for seed in report.some(SEEDS):
                train = family.simulate(n, np.random.default_rng(seed)).frame()
                started = time.process_time()
                model = LinearSDEForecaster(series_rates=9, horizon=HORIZON, random_state=seed).fit(train)
                seconds.append(time.process_time() - started)
                table = model.predict_interval(ahead, context=history, level=90)
                mean, low, high = (
                    table[[f"{c}{end}" for c in channels]].to_numpy() for end in ("", "-lo-90", "-hi-90")
                )
                excess.append(100.0 * (np.mean((y - mean)[seen] ** 2) / least - 1.0))
                shares.append(100.0 * np.mean(((y >= low) & (y <= high))[seen]))
                print(
                    f"{name}, {n} series, seed {seed}: {excess[-1]:.2f} % above, 90 % hold {shares[-1]:.1f} %, "
                    f"fit {seconds[-1]:.1f} CPU-s",
                    flush=True,
                )
            report.at_most(f"{name}, {n} series: per cent above the optimum", float(np.mean(excess)), bar)
            report.within(f"{name}, {n} series: least that 90 % intervals hold", min(shares), 87.0, 92.0)
            report.within(f"{name}, {n} series: most that 90 % intervals hold", max(shares), 87.0, 92.0)
            report.note(f"fit {np.mean(seconds):.1f} CPU-s")

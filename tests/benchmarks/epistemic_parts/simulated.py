"""Epistemic variance by the squared distance of the mean from that of one who knows the law.

A ratio of 1 is a calibrated epistemic part. Off the range of training, departures from the mean of the process are
three times as large in the histories. Families: Ornstein-Uhlenbeck, oscillators; and, without bars, oscillators that
differ in damping, which no expert of the default forecaster stands for. Filters alone are the same fit without its
expert. In brackets stands what the members' disagreement alone gives.
"""

from __future__ import annotations

import time

import numpy as np

from tests.benchmarks.epistemic_parts.spreads import by_members, by_rank, filters_alone, spread_of
from tests.benchmarks.small_panels_parts.families import FAMILIES, HISTORY, HORIZON, Family, Panel
from tests.benchmarks.small_panels_parts.forecasters import forecaster
from tests.benchmarks.small_panels_parts.other_families import OTHER_FAMILIES
from tests.benchmarks.structural_parts.report import Report

__all__ = ["run"]

N_TEST, TEST_SEED, STRETCH = 150, 10_000, 3.0
SEEDS = (1, 2, 3)
SIZES = {"OU": (10, 30, 100), "oscillators": (10, 30, 100), "damping": (30,)}
BARRED = tuple(FAMILIES)
CENTRES = {"OU": 2.0, "oscillators": 0.0, "damping": 0.0}


class Asked:
    """Histories of a family, what is asked after them, and the optimum's means of it."""

    def __init__(self, family: Family, panel: Panel) -> None:
        rows = panel.frame()
        self.channels = [name for name in rows if name.startswith("y")]
        self.context, self.ahead = rows[rows["ds"] <= HISTORY], rows[rows["ds"] > HISTORY]
        self.best = family.best(panel).best

    def measure(self, model: object) -> tuple[float, float, float, float]:
        """Mean squared distance from the optimum and mean epistemic variance, their rank correlation, and the share."""
        spread = spread_of(model, self.ahead, self.context, self.channels)
        squared = (spread.mean - self.best) ** 2
        found = squared.mean(), spread.epistemic.mean(), by_rank(spread.epistemic, squared)
        return *map(float, found), float(spread.epistemic.mean() / spread.total.mean())


def run(report: Report) -> None:
    families = {**FAMILIES, "damping": OTHER_FAMILIES["damping"]}
    for name, family in families.items():
        test = family.simulate(N_TEST, np.random.default_rng(TEST_SEED))
        centre = CENTRES[name]
        inside = Asked(family, test)
        wide = Asked(family, Panel(test.times, [centre + STRETCH * (x - centre) for x in test.values]))
        grown: dict[str, list[float]] = {"default": [], "filters alone": []}
        for n in SIZES[name]:
            rows: dict[str, list[np.ndarray]] = {who: [] for who in grown}
            for seed in report.some(SEEDS):
                started = time.process_time()
                model = forecaster(seed, horizon=HORIZON).fit(family.simulate(n, np.random.default_rng(seed)).frame())
                fitted = time.process_time() - started
                for who, one in (("default", model), ("filters alone", filters_alone(model))):
                    parts = [asked.measure(of) for asked in (inside, wide) for of in (one, by_members(one))]
                    rows[who].append(np.array(parts))
                print(f"{name}, {n} series, seed {seed}: fit {fitted:.1f} CPU-s", flush=True)
            for who, found in rows.items():
                mean = np.mean(found, axis=0)
                (off, part, rank, share), (_, alone, rank_alone, _), (far_off, far, _, _), (_, far_alone, _, _) = mean
                what = f"{name}, {n} series, {who}"
                grown[who].append(part)
                ratios = f"{part / off:.2f} ({alone / off:.2f})"
                ratios += f", off the range {far / far_off:.2f} ({far_alone / far_off:.2f})"
                report.note(
                    f"{what}: epistemic by squared distance {ratios}; rank correlation {rank:.2f} ({rank_alone:.2f}); "
                    f"{100.0 * share:.1f} % of the variance"
                )
                if name in BARRED:
                    report.within(f"{what}: epistemic by squared distance", part / off, 0.33, 3.0)
                    report.at_least(f"{what}: rank correlation with it", rank, 0.1)
                    report.at_least(f"{what}: epistemic part off the range by that within", far / part, 1.5)
        for who, parts in grown.items():
            if name in BARRED:
                report.at_least(f"{name}, {who}: epistemic part of 10 series by that of 100", parts[0] / parts[-1], 1.5)

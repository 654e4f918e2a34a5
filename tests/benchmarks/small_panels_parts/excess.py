"""Excess of a forecaster's squared error over that of one who knows the law, and what its intervals hold."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tests.benchmarks.small_panels_parts.families import HISTORY, HORIZON, Family
from tests.benchmarks.structural_parts.report import Report
from tsode.estimators import BaseForecaster

__all__ = ["BARS", "SEEDS", "Score", "Trial"]

N_TEST, TEST_SEED = 600, 10_000
SEEDS = list(range(1, 8))  # training panels and random states
N_PARTS = 5  # of the leads, each with as many values
BARS = {"OU": {50: 1.5, 200: 0.4, 1000: 0.2}, "oscillators": {50: 5.0, 200: 3.5, 1000: 1.0}}  # per cent of excess


class Score(NamedTuple):
    """Per cent above the optimum, per cent that 90 % intervals hold, that in each part of the leads, CPU seconds."""

    excess: float
    share: float
    parts: np.ndarray
    seconds: float


class Trial:
    """Test series of a family, the same for all forecasters, and the optimum's error on them."""

    def __init__(self, name: str, family: Family) -> None:
        self.name, self.family = name, family
        test = family.simulate(N_TEST, np.random.default_rng(TEST_SEED))
        self.truth = family.best(test)
        self.least = float(np.mean((self.truth.value - self.truth.best) ** 2))
        rows = test.frame()
        self.channels = [column for column in rows.columns if column.startswith("y")]
        self.history, self.ahead = rows[rows["ds"] <= HISTORY], rows[rows["ds"] > HISTORY]
        self.is_seen = self.ahead[self.channels].notna().to_numpy()
        order = np.argsort(self.truth.lead, kind="stable")
        self.part = np.empty(len(order), dtype=int)
        self.part[order] = np.arange(len(order)) * N_PARTS // len(order)

    def describe(self, report: Report) -> None:
        report.note(f"{self.name}: the optimum's squared error is {self.least:.4f} on {len(self.truth.value)} values")

    def score(self, make: Callable[..., BaseForecaster], n: int, seed: int) -> Score:
        """Of a forecaster of `n` training series, printed as it comes."""
        train = self.family.simulate(n, np.random.default_rng(seed)).frame()
        started = time.process_time()
        model = make(seed, horizon=HORIZON).fit(train)
        seconds = time.process_time() - started
        table = model.predict_interval(self.ahead, context=self.history, level=90)
        mean, low, high = (
            table[[f"{c}{end}" for c in self.channels]].to_numpy()[self.is_seen] for end in ("", "-lo-90", "-hi-90")
        )
        value = self.truth.value
        holds = (value >= low) & (value <= high)
        score = Score(
            100.0 * (float(np.mean((value - mean) ** 2)) / self.least - 1.0),
            100.0 * float(np.mean(holds)),
            100.0 * np.bincount(self.part, holds) / np.bincount(self.part),
            seconds,
        )
        parts = " ".join(f"{share:.1f}" for share in score.parts)
        print(
            f"{self.name}, {n} series, seed {seed}: {score.excess:.2f} % above, 90 % hold {score.share:.1f} % "
            f"({parts}), fit {seconds:.1f} CPU-s",
            flush=True,
        )
        return score

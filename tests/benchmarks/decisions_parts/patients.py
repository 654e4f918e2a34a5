"""Patients of two compartments, simulated: their time in range under plans, and how often a limit is passed.

How patients differ is known; of each, two or six levels after a first infusion are. Infusions every eight hours are
then planned for three days. A plan by the true parameters, with the same search, is what could be had. The limit is
judged by plans that press against it: as much time as can be above a level near by.
"""

from __future__ import annotations

import math
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd

from tests.benchmarks.structural_parts.report import Report
from tsode import KnownODEForecaster
from tsode.control import ChanceLimit, Doses, Plan, TargetRange, plan
from tsode.errors import TsodeWarning
from tsode.inference import KnownSystem, LogNormal
from tsode.systems import two_compartment_iv

__all__ = ["run"]

N_PATIENTS, N_OF_LIMIT = 100, 400
PRIOR = {"clearance": (1.0, 0.35), "volume": (10.0, 0.25), "exchange": (1.5, 0.3), "tissue_volume": (20.0, 0.3)}
NOISE = {"sd": 0.05, "cv": 0.1}
LEVELS = {2: [3.0, 12.0], 6: [1.5, 3.0, 6.0, 12.0, 18.0, 24.0]}
FIRST = {"target": "central", "amount": 100.0, "duration": 1.0}
BEGIN, END = 24.0, 96.0
RANGE = TargetRange("concentration", 3.5, 6.0, probability=0.01, between=(32.0, END))
HIGH = 8.0
ABOVE = TargetRange("concentration", 7.0, probability=0.01, between=(32.0, END))
LIMIT = ChanceLimit("concentration", above=HIGH, probability=0.05)
DOSES = Doses(list(np.arange(BEGIN, END, 8.0)), "central", high=120.0, duration=1.0)


def run(report: Report) -> None:
    warnings.simplefilter("ignore", TsodeWarning)
    patients = Patients(report.count(N_PATIENTS), seed=0)
    shares: dict[Any, list[float]] = {2: [], 6: [], "true": []}
    seconds = []
    models = {n: patients.model(n) for n in LEVELS}
    for row in range(patients.n):
        truth = patients.truth(row)
        for n, model in models.items():
            started = time.process_time()
            found = patients.planned(model, row, RANGE)
            seconds.append(time.process_time() - started)
            shares[n].append(in_range(truth, found))
        best = plan(truth, RANGE, actions=DOSES, events=patients.given(row), times=END, n_draws=2, random_state=0,
                    if_infeasible="closest")  # fmt: skip
        shares["true"].append(in_range(truth, best))
    mean = {key: float(np.mean(of_key)) for key, of_key in shares.items()}
    report.note(f"share of time in range: 2 levels {mean[2]:.3f}, 6 levels {mean[6]:.3f}, true {mean['true']:.3f}")
    report.at_most("points of time in range lost with 6 levels", 100.0 * (mean["true"] - mean[6]), 2.0)
    report.note(f"points lost with 2 levels: {100.0 * (mean['true'] - mean[2]):.2f}")
    report.at_most("CPU-s of a plan of 9 doses over 200 draws, mean", float(np.mean(seconds)), 20.0)
    limit(report)


def limit(report: Report) -> None:
    patients = Patients(report.count(N_OF_LIMIT), seed=1)
    model = patients.model(2)
    passed, planned = [], []
    for row in range(patients.n):
        found = patients.planned(model, row, ABOVE, LIMIT)
        planned.append(float(found.probabilities["planned"].iloc[-1]))
        passed.append(bool((levels_under(patients.truth(row), found, begin=BEGIN) > HIGH).any()))
    report.note(f"{patients.n} patients, planned probability {np.mean(planned):.4f}")
    report.within("per cent of patients that pass the limit, planned 5", 100.0 * float(np.mean(passed)), 3.0, 8.0)


class Patients:
    """Patients drawn from the prior, with levels after a first infusion."""

    def __init__(self, n: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.n = n
        self.parameters = pd.DataFrame({
            name: middle * np.exp(spread * generator.normal(size=n)) for name, (middle, spread) in PRIOR.items()
        })  # fmt: skip
        self.doses = pd.DataFrame({"unique_id": np.arange(n), "ds": 0.0, **FIRST})
        self.noise = generator.normal(size=(n, len(LEVELS[2]) + len(LEVELS[6])))

    def model(self, n_levels: int) -> KnownODEForecaster:
        """A posterior of every patient by itself, from so many levels."""
        times = LEVELS[n_levels]
        noise = self.noise[:, : len(times)] if n_levels == 2 else self.noise[:, 2:]
        rows = []
        for row in range(self.n):
            x = self.truth(row).predict(times=times, events=self.given(row))["concentration"].to_numpy()
            seen = x + np.hypot(NOISE["sd"], NOISE["cv"] * x) * noise[row]
            rows.append(pd.DataFrame({"unique_id": row, "ds": times, "concentration": seen}))
        priors = {name: LogNormal(math.log(middle), spread) for name, (middle, spread) in PRIOR.items()}
        system = body(priors).with_(per_series=list(PRIOR))
        return KnownODEForecaster(system=system, random_state=0).fit(
            pd.concat(rows, ignore_index=True), events=self.doses
        )

    def truth(self, row: int) -> KnownODEForecaster:
        """A forecaster that knows the parameters."""
        known = body({name: float(self.parameters[name][row]) for name in PRIOR})
        known = known.with_(parameters={"cv": LogNormal(math.log(NOISE["cv"]), 0.01)})
        model = KnownODEForecaster(system=known, inference="laplace", n_draws=2, random_state=0)
        return model.fit(pd.DataFrame({"ds": [BEGIN], "concentration": [1.0]}), events=self.given(row))

    def given(self, row: int) -> pd.DataFrame:
        return self.doses[self.doses["unique_id"] == row].drop(columns="unique_id")

    def planned(self, model: KnownODEForecaster, row: int, target: TargetRange, *limits: ChanceLimit) -> Plan:
        return plan(
            model, target, actions=DOSES, constraints=limits, events=self.doses, times={row: [END]}, series=row,
            random_state=row, if_infeasible="closest",
        )  # fmt: skip


def body(parameters: dict[str, Any]) -> KnownSystem:
    system = two_compartment_iv()
    return system.with_(parameters={**parameters, **NOISE})


def levels_under(truth: KnownODEForecaster, found: Plan, begin: float) -> np.ndarray:
    """The true concentration under a plan."""
    events = found.events
    assert events is not None
    if "unique_id" in events:
        events = events[events["unique_id"] == found.series].drop(columns="unique_id")
    return truth.predict(times=list(np.linspace(begin, END, 577)), events=events)["concentration"].to_numpy()


def in_range(truth: KnownODEForecaster, found: Plan) -> float:
    x = levels_under(truth, found, begin=32.0)
    return float(((x >= RANGE.low) & (x <= RANGE.high)).mean())

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
SD = 0.05
LEVELS = {2: [3.0, 12.0], 6: [1.5, 3.0, 6.0, 12.0, 18.0, 24.0]}
FIRST = {"target": "central", "amount": 100.0, "duration": 1.0}
BEGIN, END = 24.0, 96.0
NARROW, WIDE = (TargetRange("concentration", 3.5, high, probability=0.01, between=(32.0, END)) for high in (6.0, 7.0))
HIGH = 8.0
ABOVE = TargetRange("concentration", 7.0, probability=0.01, between=(32.0, END))
LIMIT = ChanceLimit("concentration", above=HIGH, probability=0.05)
# where an infusion begins and ends, which are the least and the largest level, and some times between
TIMES = [begin + after for begin in np.arange(BEGIN, END, 8.0) for after in (0.5, 1.0, 1.5, 2.5, 3.5, 5.0, 6.5, 8.0)]
DOSES = Doses(list(np.arange(BEGIN, END, 8.0)), "central", high=120.0, duration=1.0)


def run(report: Report) -> None:
    warnings.simplefilter("ignore", TsodeWarning)
    n, rest = report.count(N_PATIENTS), []
    best: dict[float, list[float]] = {}
    for target, cv, levels in ((NARROW, 0.1, 2), (NARROW, 0.1, 6), (WIDE, 0.05, 6)):
        patients = Patients(n, seed=0, cv=cv)
        model = patients.model(levels)
        promised, shares, seconds = [], [], []
        for row in range(n):
            truth = patients.truth(row)
            of_truth = best.setdefault(target.high, [])
            if len(of_truth) < n:
                known = plan(
                    truth, target, actions=DOSES, events=patients.given(row), times=TIMES, n_draws=2, random_state=0,
                    if_infeasible="closest",
                )  # fmt: skip
                of_truth.append(in_range(truth, known, target))
            started = time.process_time()
            found = patients.planned(model, row, target)
            seconds.append(time.process_time() - started)
            promised.append(float(found.probabilities["planned"].iloc[0]))
            shares.append(in_range(truth, found, target))
        what = f"{levels} levels, noise of {100.0 * cv:g} %, {target.low:g} to {target.high:g}"
        lost = np.array(of_truth) - np.array(shares)
        report.note(
            f"{what}: share of time in range {np.mean(shares):.3f} (promised by the plans {np.mean(promised):.3f}), by "
            f"the true parameters {np.mean(of_truth):.3f}; lost points {100.0 * lost.mean():.2f} +- "
            f"{100.0 * lost.std() / math.sqrt(n):.2f}; CPU-s of a plan {np.mean(seconds):.2f}"
        )
        if levels == 6:
            report.at_most(f"points of time in range lost, {what}", 100.0 * float(lost.mean()), 2.0)
        rest.append(abs(float(np.mean(shares) - np.mean(promised))))
    report.at_most("points by which promised and true time in range differ, worst", 100.0 * max(rest), 5.0)
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

    def __init__(self, n: int, seed: int, cv: float = 0.1) -> None:
        generator = np.random.default_rng(seed)
        self.n, self.cv = n, cv
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
            seen = x + np.hypot(SD, self.cv * x) * noise[row]
            rows.append(pd.DataFrame({"unique_id": row, "ds": times, "concentration": seen}))
        priors = {name: LogNormal(math.log(middle), spread) for name, (middle, spread) in PRIOR.items()}
        system = body(priors, self.cv).with_(per_series=list(PRIOR))
        return KnownODEForecaster(system=system, random_state=0).fit(
            pd.concat(rows, ignore_index=True), events=self.doses
        )

    def truth(self, row: int) -> KnownODEForecaster:
        """A forecaster that knows the parameters."""
        known = body({name: float(self.parameters[name][row]) for name in PRIOR}, self.cv)
        known = known.with_(parameters={"cv": LogNormal(math.log(self.cv), 0.01)})
        model = KnownODEForecaster(system=known, inference="laplace", n_draws=2, random_state=0)
        return model.fit(pd.DataFrame({"ds": [BEGIN], "concentration": [1.0]}), events=self.given(row))

    def given(self, row: int) -> pd.DataFrame:
        return self.doses[self.doses["unique_id"] == row].drop(columns="unique_id")

    def planned(self, model: KnownODEForecaster, row: int, target: TargetRange, *limits: ChanceLimit) -> Plan:
        return plan(
            model, target, actions=DOSES, constraints=limits, events=self.doses, times={row: TIMES}, series=row,
            random_state=row, if_infeasible="closest",
        )  # fmt: skip


def body(parameters: dict[str, Any], cv: float) -> KnownSystem:
    system = two_compartment_iv()
    return system.with_(parameters={**parameters, "sd": SD, "cv": cv})


def levels_under(truth: KnownODEForecaster, found: Plan, begin: float) -> np.ndarray:
    """The true concentration under a plan."""
    events = found.events
    assert events is not None
    if "unique_id" in events:
        events = events[events["unique_id"] == found.series].drop(columns="unique_id")
    return truth.predict(times=list(np.linspace(begin, END, 577)), events=events)["concentration"].to_numpy()


def in_range(truth: KnownODEForecaster, found: Plan, target: TargetRange) -> float:
    x = levels_under(truth, found, begin=32.0)
    return float(((x >= target.low) & (x <= target.high)).mean())

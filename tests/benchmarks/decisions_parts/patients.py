"""Patients of two compartments, simulated: their time in range under plans, and how often a limit is passed.

Theophylline in adults, by infusions of an hour every six hours: clearance 2.8 L/h, central volume 18 L and 35 L in all,
which differ between patients by a quarter to a third, and a range of 10 to 20 mg/L. How patients differ is known. Of
each, two levels after a first infusion are, from which three days are planned; under that plan four more are measured,
from which the rest is planned again. From then on time in range is compared with that under a plan by the true
parameters, with the same search, from the same doses. The limit is judged by plans that press against it.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
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

N_PATIENTS, N_OTHERWISE, N_OF_LIMIT = 100, 25, 400
PRIOR = {"clearance": (2.8, 0.35), "volume": (18.0, 0.25), "exchange": (30.0, 0.3), "tissue_volume": (17.0, 0.3)}
SD = 0.25  # mg/L, beside a share of the level
FIRST = {"target": "central", "amount": 300.0, "duration": 1.0}  # mg, h
BEGIN, EVERY, AGAIN, END = 6.0, 6.0, 30.0, 72.0  # h
LEVELS = [1.5, 5.5, 11.5, 17.5, 23.5, 29.5]  # a peak and troughs
KNOWN_FIRST = 2
LIMIT_END = 48.0
# as objectives these ask for as much as there can be
RANGE, NARROW = (
    TargetRange("concentration", *ends, probability=0.01, between=(8.0, END)) for ends in ((10, 20), (12, 18))
)
ABOVE = TargetRange("concentration", 18.0, probability=0.01, between=(8.0, LIMIT_END))
HIGH = 20.0
LIMIT = ChanceLimit("concentration", above=HIGH, probability=0.05)
AFTER_DOSE = (0.5, 1.0, 1.25, 2.0, 3.0, 4.5, 6.0)  # h: the end of an infusion is the peak
AFTER_DOSE_FINE = tuple(np.arange(0.125, 6.01, 0.125))


def run(report: Report) -> None:
    warnings.simplefilter("ignore", TsodeWarning)
    _time_in_range(report, "noise of 5 %, 10 to 20 mg/L", report.count(N_PATIENTS), 0.05, RANGE, is_held=True)
    n = report.count(N_OTHERWISE)
    _time_in_range(report, "noise of 10 %, 10 to 20 mg/L", n, 0.1, RANGE, is_held=False)
    _time_in_range(report, "noise of 5 %, 12 to 18 mg/L", n, 0.05, NARROW, is_held=False)
    _limit(report)


def _time_in_range(report: Report, what: str, n: int, cv: float, target: TargetRange, is_held: bool) -> None:
    patients = Patients(n, seed=0, cv=cv)
    model = patients.model()
    shares, promised, seconds = [], [], []
    for row in range(n):
        truth = patients.truth(row)
        started = time.process_time()
        first = patients.planned(model, row, target, END)
        seconds.append(time.process_time() - started)
        then = first.replan(
            patients.levels(row, own_events(first), slice(KNOWN_FIRST, None)), times=at(AGAIN, END, row)
        )
        promised.append(float(then.probabilities["planned"].iloc[0]))
        given = own_events(then)
        best = plan(
            truth, target, actions=doses(AGAIN, END), events=given[given["ds"] < AGAIN], n_draws=2, random_state=0,
            times=at(AGAIN, END, None, AFTER_DOSE_FINE), if_infeasible="closest",
        )  # fmt: skip
        under = (own_events(first), given, own_events(best))
        shares.append([_in_range(truth, events, target) for events in under])
    of_two, of_six, of_truth = np.array(shares).T
    lost = 100.0 * (of_truth - of_six)
    report.note(
        f"{what}, {n} patients: share of time in range {of_two.mean():.3f} by two levels, {of_six.mean():.3f} by six, "
        f"{of_truth.mean():.3f} by the true parameters; points lost by six {lost.mean():.2f} +- "
        f"{lost.std() / math.sqrt(n):.2f}; CPU-s of a plan {np.mean(seconds):.1f}"
    )
    if is_held:
        report.at_most(f"points of time in range lost by six levels, {what}", float(lost.mean()), 2.0)
        away = 100.0 * abs(float(of_six.mean() - np.mean(promised)))
        report.at_most("points by which the time in range differs from what the plans promise", away, 2.0)


def _limit(report: Report) -> None:
    patients = Patients(report.count(N_OF_LIMIT), seed=1, cv=0.05)
    model = patients.model()
    passed, planned = [], []
    for row in range(patients.n):
        found = patients.planned(model, row, ABOVE, LIMIT_END, LIMIT)
        planned.append(float(found.probabilities["planned"].iloc[-1]))
        levels = _levels(patients.truth(row), own_events(found), np.linspace(BEGIN, LIMIT_END, 337))
        passed.append(bool((levels > HIGH).any()))
    report.note(f"{patients.n} patients, planned probability {np.mean(planned):.4f}")
    report.within("per cent of patients that pass the limit, planned 5", 100.0 * float(np.mean(passed)), 3.0, 8.0)


class Patients:
    """Patients drawn from the prior, and what is measured of them."""

    def __init__(self, n: int, seed: int, cv: float) -> None:
        generator = np.random.default_rng(seed)
        self.n, self.cv = n, cv
        self.parameters = pd.DataFrame({
            name: middle * np.exp(spread * generator.normal(size=n)) for name, (middle, spread) in PRIOR.items()
        })  # fmt: skip
        self.doses = pd.DataFrame({"unique_id": np.arange(n), "ds": 0.0, **FIRST})
        self.noise = generator.normal(size=(n, len(LEVELS)))

    def model(self) -> KnownODEForecaster:
        """A posterior of every patient by itself, from the first levels."""
        known = slice(KNOWN_FIRST)
        rows = [self.levels(row, pd.DataFrame([{"ds": 0.0, **FIRST}]), known) for row in range(self.n)]
        priors = {name: LogNormal(math.log(middle), spread) for name, (middle, spread) in PRIOR.items()}
        system = _body(priors, self.cv).with_(per_series=list(PRIOR))
        model = KnownODEForecaster(system=system, random_state=0)
        return model.fit(pd.concat(rows, ignore_index=True), events=self.doses)

    def truth(self, row: int) -> KnownODEForecaster:
        """A forecaster that knows the parameters."""
        known = _body({name: float(self.parameters[name][row]) for name in PRIOR}, self.cv)
        known = known.with_(parameters={"cv": LogNormal(math.log(self.cv), 0.01)})
        model = KnownODEForecaster(system=known, inference="laplace", n_draws=2, random_state=0)
        first = pd.DataFrame([{"ds": 0.0, **FIRST}])
        return model.fit(pd.DataFrame({"ds": [0.5], "concentration": [1.0]}), events=first)

    def levels(self, row: int, events: pd.DataFrame, which: slice) -> pd.DataFrame:
        """Some of the levels, as they are measured under these events."""
        x = _levels(self.truth(row), events, LEVELS[which])
        seen = x + np.hypot(SD, self.cv * x) * self.noise[row, which]
        return pd.DataFrame({"unique_id": row, "ds": LEVELS[which], "concentration": seen})

    def planned(
        self, model: KnownODEForecaster, row: int, target: TargetRange, end: float, *limits: ChanceLimit
    ) -> Plan:
        return plan(
            model, target, actions=doses(BEGIN, end), constraints=limits, events=self.doses, times=at(BEGIN, end, row),
            series=row, random_state=row, if_infeasible="closest",
        )  # fmt: skip


def doses(begin: float, end: float) -> Doses:
    return Doses(list(np.arange(begin, end, EVERY)), "central", high=600.0, duration=1.0)


def at(begin: float, end: float, row: int | None, after: Sequence[float] = AFTER_DOSE) -> Any:
    """The times at which plans look at paths."""
    times = [dose + later for dose in np.arange(begin, end, EVERY) for later in after]
    return times if row is None else {row: times}


def own_events(found: Plan) -> pd.DataFrame:
    events = found.events
    assert events is not None
    return events[events["unique_id"] == found.series].drop(columns="unique_id") if "unique_id" in events else events


def _body(parameters: dict[str, Any], cv: float) -> KnownSystem:
    return two_compartment_iv().with_(parameters={**parameters, "sd": SD, "cv": cv})


def _levels(truth: KnownODEForecaster, events: pd.DataFrame, times: Sequence[float] | np.ndarray) -> np.ndarray:
    """The true concentration under these events."""
    return truth.predict(times=list(times), events=events)["concentration"].to_numpy()


def _in_range(truth: KnownODEForecaster, events: pd.DataFrame, target: TargetRange) -> float:
    x = _levels(truth, events, np.linspace(AGAIN + 2.0, END, 481))
    return float(((x >= target.low) & (x <= target.high)).mean())

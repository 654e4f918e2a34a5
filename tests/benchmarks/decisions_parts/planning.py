"""Speed of plans: one patient, eight doses, 200 draws, with a target and a limit, rounded to tablets or not."""

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
from tsode.datasets import load_theophylline, load_theophylline_doses
from tsode.errors import TsodeWarning
from tsode.inference import LogNormal
from tsode.systems import michaelis_menten, one_compartment_oral

__all__ = ["run"]

BAR, SLOTS, END = 20.0, np.arange(12.0, 76.0, 8.0), 76.0
TARGET = TargetRange("concentration", 10.0, 20.0, probability=0.01, between=(24.0, END))
LIMIT = ChanceLimit("concentration", above=20.0, probability=0.1)


def run(report: Report) -> None:
    warnings.simplefilter("ignore", TsodeWarning)
    oral, given = theophylline()
    kinds: dict[str, dict[str, Any]] = {
        "any amounts": {},
        "tablets of 50 mg": {"available": 50.0},
        "8 of 32 times, 6 h apart": {"times": list(np.arange(12.0, 76.0, 2.0)), "n_most": 8, "apart": 6.0},
        "times that may move by 2 h": {"shift": 2.0},
    }
    for name, more in kinds.items():
        doses = Doses(**({"times": list(SLOTS), "target": "depot", "high": 600.0} | more))
        timed(report, name, lambda doses=doses: plan(
            oral, TARGET, actions=doses, constraints=LIMIT, events=given, times=END, random_state=0,
            if_infeasible="closest",
        ))  # fmt: skip
    saturated, first = phenytoin()
    doses = Doses(list(SLOTS), high=400.0)
    timed(report, "elimination that saturates, any amounts", lambda: plan(
        saturated, TARGET, actions=doses, constraints=LIMIT, events=first, times=END, random_state=0,
        if_infeasible="closest",
    ))  # fmt: skip


def timed(report: Report, name: str, make: Any) -> None:
    started = time.process_time()
    found: Plan = make()
    seconds = time.process_time() - started
    kept = found.probabilities["planned"]
    report.note(f"{name}: in range {kept.iloc[0]:.3f}, above {kept.iloc[1]:.3f}, residual {found.residual:.1e}")
    report.at_most(f"CPU-s, {name}", seconds, BAR)


def theophylline() -> tuple[KnownODEForecaster, pd.DataFrame]:
    levels = load_theophylline().rename(columns={"theophylline_mg_l": "concentration"})
    levels = levels[(levels["unique_id"] == 1) & (levels["ds"] > 0) & (levels["ds"] <= 8)]
    doses = load_theophylline_doses().rename(columns={"dose_mg": "amount"}).assign(target="depot")
    given = doses[doses["unique_id"] == 1]
    body = one_compartment_oral(
        absorption=LogNormal(math.log(1.5), 0.7), clearance=LogNormal(math.log(3.1), 0.3),
        volume=LogNormal(math.log(40.0), 0.3), level=5.0,
    ).with_(parameters={"sd": 0.25, "cv": 0.15})  # fmt: skip
    return KnownODEForecaster(system=body, random_state=0).fit(levels, events=given), given


def phenytoin() -> tuple[KnownODEForecaster, pd.DataFrame]:
    """A drug whose elimination saturates near its range, by two levels."""
    body = michaelis_menten()
    priors = {"most": LogNormal(math.log(20.0), 0.2), "half": LogNormal(math.log(6.0), 0.3)}
    priors["volume"] = LogNormal(math.log(40.0), 0.2)
    body = body.with_(parameters={**priors, "sd": 0.25, "cv": 0.1})
    given = pd.DataFrame({"ds": [0.0], "amount": [500.0]})
    levels = pd.DataFrame({"ds": [2.0, 10.0], "concentration": [12.0, 9.5]})
    return KnownODEForecaster(system=body, random_state=0).fit(levels, events=given), given

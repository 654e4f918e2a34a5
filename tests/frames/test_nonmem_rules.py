"""NONMEM's rules of doses, against sums of what single doses leave in a linear system."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tsode import solve
from tsode.frames import events_from_nonmem, observations_from_nonmem, to_nonmem
from tsode.numerics import Dopri5

KA, K = 0.6, 0.1
MATRIX = np.array([[-KA, 0.0], [KA, -K]])
RATES, MODES = np.linalg.eig(MATRIX)


def oral(t, z):
    return z @ torch.tensor(MATRIX).T


def left_of(amount, rate, compartment, age):
    """What is left of one dose, `age` (n) after it began; an infusion where there is a rate."""
    weights = np.linalg.solve(MODES, np.eye(2)[compartment])
    age = np.asarray(age, dtype=float)[:, None]
    if not rate:
        modes = np.where(age >= 0, amount * np.exp(RATES * np.maximum(age, 0)), 0.0)
    else:
        during = np.clip(age, 0, amount / rate)
        modes = rate * np.expm1(RATES * during) / RATES * np.exp(RATES * (np.maximum(age, 0) - during))
    return ((modes * weights) @ MODES.T).sum(axis=0)


def rule(table, row):
    """State that the observation at `row` of an individual's table sees, by the words of the manual."""
    t = table["TIME"][row]
    wipes = [q for q in range(row) if table["EVID"][q] in (3, 4) or (table["EVID"][q] == 1 and table["SS"][q] == 1)]
    z = np.zeros(2)
    for q in range(wipes[-1] if wipes else 0, row):
        dose = table.iloc[q]
        if dose["EVID"] not in (1, 4):
            continue
        arrivals = dose["TIME"] + dose["ALAG"] + dose["II"] * np.arange(dose["ADDL"] + 1)
        is_given = (arrivals < t - 1e-9) | ((np.abs(arrivals - t) < 1e-9) & (dose["ALAG"] == 0) & (np.arange(len(arrivals)) == 0))
        if dose["SS"]:
            before = dose["TIME"] + dose["ALAG"] - dose["II"] * np.arange(1, 600)
            arrivals, is_given = np.r_[arrivals, before], np.r_[is_given, before < t]
        z += left_of(dose["AMT"] * dose["F"], dose["RATE"], int(dose["CMT"]) - 1, t - arrivals[is_given])
    return z


def draw_table(rng, label):
    """One individual: records in order, observations between and at the same times."""
    n = int(rng.integers(2, 9))
    times = np.sort(np.round(rng.choice(np.arange(0, 40, 0.8), n), 1))
    rows = []
    for time in times:
        evid = int(rng.choice([1, 1, 1, 0, 0, 2, 3, 4]))
        is_dose = evid in (1, 4)
        steady = int(rng.choice([0, 0, 0, 1, 2])) if is_dose else 0
        more = int(rng.choice([0, 0, 2, 4])) if is_dose else 0
        rows.append({
            "ID": label, "TIME": time, "EVID": evid, "AMT": float(rng.integers(1, 9)) if is_dose else 0.0,
            "CMT": int(rng.integers(1, 3)) if is_dose else int(rng.choice([1, 2, 99])),
            "RATE": float(rng.choice([0, 0, 0.35, 3.7])) if is_dose else 0.0,
            "II": float(rng.choice([2.4, 4.8, 8.0])) if steady or more else 0.0, "ADDL": more, "SS": steady,
            "ALAG": float(rng.choice([0, 0, 0, 0.7, 3.3])) if is_dose else 0.0,
            "F": float(rng.choice([1.0, 1.0, 0.6])),
        })  # fmt: skip
    rows.append({**rows[-1], "TIME": 45.6, "EVID": 0, "AMT": 0.0, "RATE": 0.0, "ADDL": 0, "SS": 0, "II": 0.0, "CMT": 2})
    return pd.DataFrame(rows)


def is_cut(table):
    """Whether a reset comes before the late dose of a steady state, which is refused."""
    resets = table["EVID"].isin([3, 4]) | (table["SS"] == 1)
    for q in np.flatnonzero((table["SS"] > 0) & (table["ALAG"] > 0)):
        later = table["TIME"][resets & (table.index > q)]
        if len(later) and later.iloc[0] <= table["TIME"][q] + table["ALAG"][q] + 1e-9:
            return True
    return False


def predict(events, seen):
    found = solve(oral, np.zeros(2), seen, events=events, t0=0.0, side=seen["side"], solver=Dopri5(rtol=1e-6, atol=1e-7))
    return found[["state_0", "state_1"]].to_numpy()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_generated_tables_are_read_by_the_rules_and_come_back_equal_by_prediction(seed):
    rng = np.random.default_rng(seed)
    tables = []
    while len(tables) < 200:
        table = draw_table(rng, len(tables))
        if not is_cut(table):
            tables.append(table)
    whole = pd.concat(tables, ignore_index=True).assign(DV=1.0)
    seen, events = observations_from_nonmem(whole, endpoint=None, side=True), events_from_nonmem(whole)
    found = predict(events, seen)
    truth = np.stack([rule(t, row) for t in tables for row in np.flatnonzero(t["EVID"] == 0)])
    np.testing.assert_allclose(found, truth, rtol=1e-4, atol=1e-4)
    written = pd.concat([to_nonmem(events_from_nonmem(table)) for table in tables])
    np.testing.assert_allclose(predict(events_from_nonmem(written), seen), found, rtol=1e-4, atol=1e-4)

"""NONMEM's rules of doses, against sums of what single doses leave in a linear system."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tsode import solve
from tsode.frames import events_from_nonmem, observations_from_nonmem, to_nonmem

KA, K = 1.2, 0.1
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
        is_given = (arrivals < t - 1e-9) | (
            (np.abs(arrivals - t) < 1e-9) & (dose["ALAG"] == 0) & (np.arange(len(arrivals)) == 0)
        )
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
            "RATE": float(rng.choice([0, 0, 0.5, 4.0])) if is_dose else 0.0,
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
    found = solve(oral, np.zeros(2), seen, events=events, t0=0.0, side=seen["side"])
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
    np.testing.assert_allclose(found, truth, rtol=1e-8, atol=1e-9)
    parts = [pd.concat(tables[k : k + 40], ignore_index=True) for k in range(0, 200, 40)]
    written = pd.concat([to_nonmem(events_from_nonmem(part)) for part in parts])
    np.testing.assert_allclose(predict(events_from_nonmem(written), seen), found, rtol=1e-8, atol=1e-9)


def one(t, z):
    return -K * z


def amounts(table, times, side="before", field=one):
    return solve(field, {"drug": 0.0}, times, events=events_from_nonmem(table), side=side)["drug"].to_numpy()


def test_additional_doses_of_a_reset_and_dose_reset_nothing():
    table = pd.DataFrame({"ID": 1, "TIME": [2.0], "EVID": [4], "AMT": [100.0], "II": [12.0], "ADDL": [2]})
    truth = [np.exp(-1.8) + np.exp(-0.6), np.exp(-2.8) + np.exp(-1.6) + np.exp(-0.4)]
    np.testing.assert_allclose(amounts(table, [20.0, 30.0]), 100 * np.array(truth), rtol=1e-8)
    each = pd.DataFrame({"ds": [2.0], "kind": ["reset_add"], "amount": [100.0], "every": [12.0], "n_more": [2]})
    written = to_nonmem(each)  # here each of them resets
    assert written[["TIME", "EVID", "ADDL"]].to_numpy().tolist() == [[2.0, 4, 0], [14.0, 4, 0], [26.0, 4, 0]]
    np.testing.assert_allclose(amounts(written, [20.0, 30.0]), 100 * np.exp([-0.6, -0.4]), rtol=1e-8)


def test_a_reset_is_not_late_where_its_dose_is():
    table = pd.DataFrame({"ID": 1, "TIME": [0.0, 5.0], "EVID": [1, 4], "AMT": [100.0, 50.0], "ALAG": [0.0, 1.5]})
    np.testing.assert_allclose(
        amounts(table, [5.0, 6.0, 7.0]), [100 * np.exp(-0.5), 0.0, 50 * np.exp(-0.05)], atol=1e-8
    )


def test_lag_and_bioavailability_belong_to_the_dose_or_its_compartment():
    truth = [0.0, 60 * np.exp(-0.05)]
    dose = pd.DataFrame({"ID": 1, "TIME": [0.0], "AMT": [100.0], "CMT": [1]})
    for columns in (
        {"ALAG": 1.5, "F": 0.6},
        {"ALAG1": 1.5, "F1": 0.6},
        {"ALAG1": 1.5, "ALAG": 9.0, "F": 0.6, "F2": 0.1},
    ):
        np.testing.assert_allclose(amounts(dose.assign(**columns), [1.5, 2.0]), truth, rtol=1e-8)
    infusion = dose.assign(RATE=20.0, F=0.6)  # 60 at the same rate: three hours
    np.testing.assert_allclose(amounts(infusion, [3.0, 5.0]), 200 * (1 - np.exp(-0.3)) * np.exp([0, -0.2]), rtol=1e-8)


def test_late_doses_in_steady_state_were_late_before_too():
    dose = pd.DataFrame({"ID": 1, "TIME": [3.0], "EVID": 1, "AMT": [100.0], "II": [12.0], "SS": [1]})
    peak = 100 / (1 - np.exp(-1.2))
    for lag in (2.0, 14.0):  # two intervals late: one more dose is on its way
        found = amounts(dose.assign(ALAG=lag), [3.0, 4.999999999, 6.0], side="after")
        np.testing.assert_allclose(found, peak * np.exp([-1.0, -1.1999999999, -0.1]), rtol=1e-8)


def test_an_infusion_in_steady_state_that_is_late_goes_on_at_its_time():
    dose = pd.DataFrame(
        {"ID": 1, "TIME": [0.0], "EVID": 1, "AMT": [30.0], "RATE": [5.0], "II": [8.0], "SS": [1], "ALAG": [5.0]}
    )
    times = np.array([0.0, 2.0, 4.0, 5.0, 9.0])  # the one before began at -3, lasts to 3
    began = 5.0 - 8.0 * np.arange(200)
    age = times[:, None] - began
    truth = (5 / K * (1 - np.exp(-K * np.clip(age, 0, 6))) * np.exp(-K * np.maximum(age - 6, 0))).sum(axis=1)
    np.testing.assert_allclose(amounts(dose, times, side="after"), truth, rtol=1e-8)


def test_the_order_of_records_decides_what_an_observation_of_that_time_sees():
    table = pd.DataFrame(
        {"ID": [1] * 5, "TIME": [0.0] * 5, "EVID": [0, 1, 0, 1, 0], "AMT": [0, 100, 0, 40, 0], "DV": 1.0}
    )
    seen = observations_from_nonmem(table, side=True)
    found = solve(one, {"drug": 0.0}, seen, events=events_from_nonmem(table), side=seen["side"])
    assert found["drug"].tolist() == [0.0, 100.0, 140.0]
    assert observations_from_nonmem(table).columns.tolist() == ["unique_id", "ds", "DV"]


def test_additional_and_late_doses_come_after_the_records_of_their_time():
    table = pd.DataFrame({"ID": 1, "TIME": [0.0, 12.0, 12.0, 12.0], "EVID": [1, 0, 1, 0], "AMT": [100.0, 0, 10.0, 0],
                          "II": [12.0, 0, 0, 0], "ADDL": [1, 0, 0, 0], "DV": 1.0})  # fmt: skip
    seen = observations_from_nonmem(table, side=True)
    found = solve(one, {"drug": 0.0}, seen, events=events_from_nonmem(table), side=seen["side"])["drug"]
    np.testing.assert_allclose(found, [100 * np.exp(-1.2), 100 * np.exp(-1.2) + 10], rtol=1e-8)
    after = amounts(table, [12.0], side="after")
    np.testing.assert_allclose(after, 100 * np.exp(-1.2) + 110, rtol=1e-8)


def test_a_clock_that_a_reset_starts_again_goes_on():
    table = pd.DataFrame({"ID": 1, "TIME": [0.0, 24.0, 0.0, 6.0, 0.0, 6.0], "EVID": [1, 0, 4, 0, 3, 0],
                          "AMT": [100.0, 0, 50.0, 0, 0, 0], "II": [10.0, 0, 0, 0, 0, 0], "ADDL": [9, 0, 0, 0, 0, 0],
                          "DV": 1.0})  # fmt: skip
    seen, events = observations_from_nonmem(table), events_from_nonmem(table)
    assert seen["ds"].tolist() == [24.0, 106.0, 206.0]
    found = solve(one, {"drug": 0.0}, seen, events=events)["drug"]
    np.testing.assert_allclose(found, [100 * np.exp([-2.4, -1.4, -0.4]).sum(), 50 * np.exp(-0.6), 0.0], rtol=1e-8)
    back = solve(one, {"drug": 0.0}, seen, events=events_from_nonmem(to_nonmem(events)))["drug"]
    np.testing.assert_allclose(back, found, rtol=1e-12)


@pytest.mark.parametrize("name", ["DVID", "CMT", "kind"])
def test_endpoints_of_one_time_are_channels(name):
    table = pd.DataFrame({"ID": 1, "TIME": [0.0, 1.0, 1.0, 2.0, 2.0, 2.0], "EVID": [1, 0, 0, 0, 0, 0],
                          "AMT": [9, ".", ".", ".", ".", "."], "DV": [".", 5.0, 60.0, 7.0, 80.0, 8.0],
                          name: [1, 2, 3, 2, 3, 2]})  # fmt: skip
    seen = observations_from_nonmem(table, endpoint="auto" if name != "kind" else "kind")
    wide = pd.DataFrame({"unique_id": 1, "ds": [1.0, 2.0, 2.0], "DV_2": [5.0, 7.0, 8.0], "DV_3": [60.0, 80.0, np.nan]})
    pd.testing.assert_frame_equal(seen, wide)  # two of one endpoint at one time stay two rows
    assert len(observations_from_nonmem(table, endpoint=None)) == 5


def test_compartments_of_records_that_change_none_are_not_read():
    table = pd.DataFrame(
        {"ID": 1, "TIME": [0.0, 1.0, 2.0], "EVID": [1, 2, 3], "AMT": [100.0, 0, 0], "CMT": [1, 98, 99]}
    )
    np.testing.assert_allclose(amounts(table, [1.5, 3.0]), [100 * np.exp(-0.15), 0.0], rtol=1e-8)
    mark = pd.DataFrame(
        {"ds": [0.0, 1.0], "kind": ["add", "mark"], "target": ["drug", "meal"], "amount": [1.0, np.nan]}
    )
    assert solve(one, {"drug": 0.0}, [2.0], events=mark)["drug"].item() > 0


def test_a_steady_state_without_a_dose_is_that_of_what_the_field_produces():
    table = pd.DataFrame({"ID": 1, "TIME": [0.0], "EVID": [1], "AMT": [0.0], "RATE": [0.0], "II": [0.0], "SS": [1]})
    found = amounts(table, [0.0, 9.0], side="after", field=lambda t, z: 3.0 - K * z)
    np.testing.assert_allclose(found, [30.0, 30.0], rtol=1e-8)


def test_a_polars_table_is_read():
    polars = pytest.importorskip("polars")
    table = {"ID": [1, 1], "TIME": [0.0, 1.0], "EVID": [1, 0], "AMT": [9.0, None], "DV": [None, 3.0]}
    pd.testing.assert_frame_equal(
        events_from_nonmem(polars.DataFrame(table)).frame, events_from_nonmem(pd.DataFrame(table)).frame
    )
    assert observations_from_nonmem(polars.DataFrame(table))["DV"].tolist() == [3.0]

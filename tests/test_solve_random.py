"""Random events on a random linear system against a plain loop over matrix exponentials."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.linalg import expm

from tsode import solve


def flow(a, z, rate, span):
    """Exact state after `span` of ``dz/dt = a z + rate``."""
    block = np.zeros((3, 3))
    block[:2, :2], block[:2, 2] = a, rate
    return (expm(span * block) @ [*z, 1.0])[:2]


def single(a, event, age):
    """State `age` after one dose into an empty system began."""
    unit = np.eye(2)[event["target"]]
    if age < 0:
        return np.zeros(2)
    if not event["duration"] > 0:
        return expm(age * a) @ (event["amount"] * unit)
    rate = event["amount"] / event["duration"] * unit
    return flow(a, flow(a, np.zeros(2), rate, min(age, event["duration"])), 0 * unit, max(age - event["duration"], 0.0))


def reference(a, events, time, side):
    """State at `time`, event by event; inputs are kept in a list of (begin, end, rate)."""
    rows = [e for e in events if e["ds"] < time or (side == "after" and e["ds"] == time)]
    z, clock, inputs = np.zeros(2), 0.0, []

    def advance(z, start, stop):
        cuts = sorted({start, stop, *(c for i in inputs for c in i[:2] if start < c < stop)})
        for begin, end in itertools.pairwise(cuts):
            middle = (begin + end) / 2
            z = flow(a, z, sum((i[2] for i in inputs if i[0] < middle < i[1]), np.zeros(2)), end - begin)
        return z

    for e in sorted(rows, key=lambda e: (e["ds"], e["priority"])):
        z, clock = advance(z, clock, e["ds"]), e["ds"]
        unit = np.eye(2)[e["target"]]
        if e["kind"] in ("reset", "reset_add") or e["steady_state"] == 1:
            z, inputs = np.zeros(2), []
        if e["steady_state"]:
            z = z + sum(single(a, e, n * e["every"]) for n in range(1, 400))
        if e["kind"] == "set":
            z = np.where(unit, e["amount"], z)
        elif e["kind"] == "multiply":
            z = np.where(unit, e["amount"] * z, z)
        elif e["kind"] in ("add", "reset_add") and e["duration"] > 0:
            for n in range(400 if e["steady_state"] else 1):
                end = e["ds"] - n * e["every"] + e["duration"] if n else e["ds"] + e["duration"]
                if end > e["ds"]:
                    inputs.append((e["ds"], end, e["amount"] / e["duration"] * unit))
        elif e["kind"] in ("add", "reset_add"):
            z = z + e["amount"] * unit
    return advance(z, clock, time)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_random_events_are_applied_as_a_plain_loop_applies_them(seed):
    rng = np.random.default_rng(seed)
    a = np.array([[-1.0, 0.2], [0.7, -0.5]]) * rng.uniform(0.5, 1.5, (2, 2))
    series = {}
    for label in "abc":
        events = []
        for _ in range(rng.integers(1, 9)):
            kind = rng.choice(["add", "add", "add", "set", "multiply", "reset", "reset_add", "mark"])
            is_dose = kind in ("add", "reset_add")
            events.append(
                {
                    "ds": float(rng.integers(0, 8)),
                    "kind": str(kind),
                    "target": int(rng.integers(2)),
                    "amount": float(rng.uniform(0.1, 9.0)),
                    "duration": float(rng.choice([np.nan, 0.5, 3.0, 7.0])) if is_dose else np.nan,
                    "every": float(rng.choice([1.5, 3.0])) if is_dose else np.nan,
                    "steady_state": int(rng.choice([0, 0, 1, 2])) if is_dose else 0,
                    "priority": int(rng.integers(2)),
                }
            )
        series[label] = events
    frame = pd.concat([pd.DataFrame(events).assign(unique_id=label) for label, events in series.items()])
    matrix, times = torch.tensor(a), [1.0, 2.5, 4.0, 7.0, 9.5]
    for side in ("before", "after"):
        found = solve(lambda t, z: z @ matrix.T, np.zeros(2), times, events=frame, t0=0.0, side=side)
        truth = [reference(a, events, time, side) for events in series.values() for time in times]
        np.testing.assert_allclose(found.iloc[:, 2:], truth, rtol=1e-8, atol=1e-9)

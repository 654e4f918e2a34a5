"""Pendulum that is pushed twice, and its adjoint equation as SciPy integrates it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.integrate import solve_ivp

from tsode import KnownODEForecaster
from tsode.control import Doses, ExpectedCost, Plan, plan
from tsode.inference import AdditiveNoise, KnownSystem, LogNormal
from tsode.numerics.rk4 import RK4

START, LOOKED_AT = np.array([1.2, 0.0]), np.array([0.6, 1.2, 2.0])


def planned(max_step: float) -> Plan:
    """Pushes at 0.2 and 1.0, whose amounts are all but given, for a cost at three times."""

    def rates(t: Any, z: Any, p: Any) -> Any:
        return z[:, 1], -2.0 * torch.sin(z[:, 0]) - 0.3 * z[:, 1]

    system = KnownSystem(
        rates, ["angle", "speed"], {"sd": LogNormal(0.0, 0.1)}, dict(zip(["angle", "speed"], START)),
        {"seen": AdditiveNoise("angle", sd="sd")}, solver=RK4(max_step=max_step),
    )  # fmt: skip
    none = pd.DataFrame({"ds": [0.0], "target": ["speed"], "amount": [0.0]})
    model = KnownODEForecaster(system=system, inference="laplace", n_draws=2, random_state=0)
    model.fit(pd.DataFrame({"ds": [0.0], "seen": [1.2]}), events=none)
    cost = ExpectedCost(lambda paths, t: paths.square().sum(dim=(1, 2)), 0.3, channels=["angle", "speed"])
    pushes = Doses([0.2, 1.0], "speed", low=1.0, high=1.0 + 1e-6)
    return plan(model, cost, actions=pushes, events=none, times=list(LOOKED_AT), n_draws=2, random_state=0)


def adjoint(found: Plan, times: np.ndarray) -> np.ndarray:
    """Costates (m d) at some times under the pushes of a plan."""
    pushes = dict(zip([0.2, 1.0], found._candidate.amounts))
    tight = {"rtol": 1e-13, "atol": 1e-14, "method": "DOP853"}

    def forward(t: float, z: np.ndarray) -> np.ndarray:
        return np.array([z[1], -2.0 * np.sin(z[0]) - 0.3 * z[1]])

    def back(t: float, both: np.ndarray) -> np.ndarray:
        z, w = both[:2], both[2:]
        return np.concatenate([forward(t, z), [2.0 * np.cos(z[0]) * w[1], -w[0] + 0.3 * w[1]]])

    stops = np.unique(np.concatenate([[0.0], LOOKED_AT, list(pushes)]))
    z, after = START.copy(), {}
    for first, last in pairwise(stops):
        z = z + np.array([0.0, pushes.get(float(first), 0.0)])
        z = solve_ivp(forward, (first, last), z, **tight).y[:, -1]
        after[float(last)] = z.copy()  # before what happens there
    costates = {}
    w = np.zeros(2)
    cuts = np.unique(np.concatenate([stops, times]))[::-1]
    z = after[float(stops[-1])].copy()
    for last, first in pairwise(cuts):
        if last in LOOKED_AT:
            w = w + 2.0 * after[float(last)]
        both = solve_ivp(back, (last, first), np.concatenate([z, w]), **tight).y[:, -1]
        z, w = both[:2], both[2:]
        costates[float(first)] = w.copy()
        z = z - np.array([0.0, pushes.get(float(first), 0.0)])
    return np.array([costates[float(t)] for t in times])

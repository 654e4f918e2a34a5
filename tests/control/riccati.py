"""Linear systems with quadratic costs: their optimal doses and inputs by Riccati's equations, written out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from tsode import KnownODEForecaster
from tsode.control import Doses, ExpectedCost, Input, Plan, plan
from tsode.inference import AdditiveNoise, KnownSystem, LogNormal
from tsode.numerics.dopri5 import Dopri5

SPRING = np.array([[0.0, 1.0], [-1.0, -0.5]])
PUSH = np.array([0.0, 1.0])
START = np.array([1.0, -0.5])
WEIGHT = 0.2  # of the squared input


def spring(n_terms: int = 0, until: float = 1.0, rtol: float = 1e-10) -> KnownSystem:
    """A damped spring that is pushed: by doses to its speed, or by an input, whose cost a third state sums up.

    The input is a polynomial of time up to `until`, of Chebyshev's with the coefficients ``c0``, ``c1``, ...
    """

    def rates(t: Any, z: Any, p: Any) -> Any:
        x, v = z[:, 0], z[:, 1]
        if not n_terms:
            return v, -x - 0.5 * v
        u = pushed(t, [p[f"c{k}"] for k in range(n_terms)], until)
        return v, -x - 0.5 * v + u, x.square() + 0.5 * v.square() + WEIGHT * u.square()

    states = ["x", "v", "cost"] if n_terms else ["x", "v"]
    initial = dict(zip(states, [*START, 0.0]))
    return KnownSystem(
        rates, states, {"sd": LogNormal(0.0, 0.1)}, initial, {"place": AdditiveNoise("x", sd="sd")},
        solver=Dopri5(rtol=rtol, atol=rtol),
    )  # fmt: skip


def pushed(t: Any, coefficients: Sequence[Any], until: float) -> Any:
    """Sum of Chebyshev's polynomials on [0, until]."""
    s = 2.0 * t / until - 1.0
    before, now, total = 1.0 + 0.0 * s, s, coefficients[0] + 0.0 * s
    for c in coefficients[1:]:
        total = total + c * now
        before, now = now, 2.0 * s * now - before
    return total


def planned_doses(n: int, gap: float, weight: float, rtol: float = 1e-10) -> Plan:
    """Doses to the speed, a `gap` apart, that are best for the sum of x^2 + v^2 / 2 just before each and at the end."""
    levels = pd.DataFrame({"ds": [0.0], "place": [1.0]})
    no_doses = pd.DataFrame({"ds": [0.0], "target": ["v"], "amount": [0.0]})
    model = KnownODEForecaster(system=spring(rtol=rtol), inference="laplace", n_draws=2, random_state=0)
    model.fit(levels, events=no_doses)
    times = gap * np.arange(1, n + 1)
    cost = ExpectedCost(
        lambda paths, t: (paths.square() * paths.new_tensor([1.0, 0.5])).sum(dim=(1, 2)), weight, channels=["x", "v"]
    )
    actions = Doses(list(gap * np.arange(n)), "v", low=-np.inf)
    return plan(model, cost, actions=actions, events=no_doses, times=list(times), n_draws=2, random_state=0)


def best_doses(n: int, gap: float, weight: float) -> np.ndarray:
    """The same by the discrete Riccati equation."""
    move, price, push = expm(SPRING * gap), np.diag([1.0, 0.5]), PUSH[:, None]
    worth, gains = price.copy(), []
    for k in range(n):
        after = move.T @ worth @ move
        gain = (push.T @ after) / (weight + push.T @ after @ push)
        worth = after - after @ push @ gain + (price if k < n - 1 else 0.0)
        gains.append(gain)
    x, doses = START.copy(), []
    for gain in reversed(gains):
        dose = -float((gain @ x).item())
        doses.append(dose)
        x = move @ (x + PUSH * dose)
    return np.array(doses)


def planned_input(n_terms: int, until: float, rtol: float = 1e-10) -> Plan:
    """Best input among polynomials for the integral of x^2 + v^2 / 2 + u^2 / 5."""
    levels = pd.DataFrame({"ds": [0.0], "place": [1.0]})
    names = [f"c{k}" for k in range(n_terms)]
    still = pd.DataFrame({"ds": [0.0], **dict.fromkeys(names, 0.0)})
    model = KnownODEForecaster(
        system=spring(n_terms, until, rtol), known_path="last", inference="laplace", n_draws=2, random_state=0
    )
    model.fit(levels, known=still)
    cost = ExpectedCost(lambda paths, t: paths[:, -1, 0], channels=["cost"])
    actions = [Input(name, [0.0]) for name in names]
    return plan(model, cost, actions=actions, known=still, times=[until / 2, until], n_draws=2, random_state=0)


def best_input(times: np.ndarray, until: float) -> np.ndarray:
    """The same by Riccati's differential equation."""
    price = np.diag([1.0, 0.5])

    def backward(s: float, flat: np.ndarray) -> np.ndarray:
        worth = flat.reshape(2, 2)
        slope = price + SPRING.T @ worth + worth @ SPRING - np.outer(worth @ PUSH, PUSH @ worth) / WEIGHT
        return slope.ravel()

    tight = {"rtol": 1e-12, "atol": 1e-13, "dense_output": True}
    worth_at = solve_ivp(backward, (0.0, until), np.zeros(4), **tight).sol

    def gain(t: float) -> np.ndarray:
        return PUSH @ worth_at(until - t).reshape(2, 2) / WEIGHT

    path = solve_ivp(lambda t, x: SPRING @ x - PUSH * (gain(t) @ x), (0.0, until), START, **tight).sol
    return np.array([-gain(t) @ path(t) for t in times])

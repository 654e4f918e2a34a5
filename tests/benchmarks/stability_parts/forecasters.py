"""Forecasters fitted to noisy, irregular rows of Lorenz' equations, and Kalman filters, analysed as they are."""

from __future__ import annotations

import copy
import math

import numpy as np
import pandas as pd
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import expm, solve_discrete_are

from tests.benchmarks.structural_parts.report import Report
from tsode import JumpODEForecaster, KnownODEForecaster, LinearSDEForecaster, part
from tsode.diagnostics import forgetting
from tsode.inference import LogNormal, Normal
from tsode.inference.noise import AdditiveNoise
from tsode.stability import finite_time_exponents, fitted_system, lyapunov_spectrum, predictability_horizon

__all__ = ["run"]

NAMES = ["x", "y", "z"]
TRUTH = 0.9056
NOISE = 0.2  # standard deviation of what is seen; the states' are about 8
NEAR, FAR = 0.05, 8.0  # leads after which forecast errors are first looked at; error that is too large
N_FORECASTS = 64


def truth(t: float, u: np.ndarray) -> list[float]:
    x, y, z = u
    return [10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]


def from_attractor(rng: np.random.Generator) -> np.ndarray:
    """A state on the attractor."""
    state: np.ndarray = solve_ivp(truth, (0, 10), rng.normal([0, 0, 25], 8), rtol=1e-8).y[:, -1]
    return state


def path(start: np.ndarray, times: np.ndarray, until: float) -> np.ndarray:
    """States (n 3) at some times after a start."""
    states: np.ndarray = solve_ivp(truth, (0, until), start, rtol=1e-9, atol=1e-9, t_eval=times).y.T
    return states


def seen(n_series: int, span: float, gap: float, noise: float, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for series in range(n_series):
        start, times = from_attractor(rng), np.sort(rng.uniform(0, span, int(span / gap)))
        values = path(start, times, span + 1)
        values = values + noise * rng.normal(size=values.shape)
        rows.append(pd.DataFrame(values, columns=NAMES).assign(unique_id=series, ds=times))
    return pd.concat(rows, ignore_index=True)


def run(report: Report) -> None:
    jump_filter(report)
    known_equations(report)
    kalman_filters(report)


def jump_filter(report: Report) -> None:
    rows = seen(80, 20.0, 0.06, NOISE, seed=1)
    forecaster = JumpODEForecaster(
        evolution=part("mlp", width=96, activation="silu"), solver="rk4", n_state=6, gate=False, likelihood="normal",
        n_members=1, expert=None, horizon=1.0, max_epochs=120, patience=15, random_state=0,
    ).fit(rows)  # fmt: skip
    look_ahead(report, forecaster)


def look_ahead(report: Report, forecaster: JumpODEForecaster) -> None:
    """How far a fitted filter says it can see, and how far it does."""
    system = fitted_system(forecaster, context=seen(8, 5.0, 0.05, NOISE, seed=99))
    table = lyapunov_spectrum(system, k=3, duration=30.0, transient=10.0)
    exponent, error = float(table.iloc[0, 0]), float(table.iloc[0, 1])
    report.note(f"jump filter: {', '.join(f'{value:.3f}' for value in table.iloc[:, 0])}; the first +- {error:.3f}")
    report.at_most("jump filter: first exponent, in parts of .9056 away", abs(exponent / TRUTH - 1), 0.15)
    leads, errors = forecast_errors(forecaster)
    told = predictability_horizon(exponent, float(errors[0]), FAR) + leads[0]
    met = float(np.interp(math.log(FAR), np.log(np.maximum.accumulate(errors)), leads))
    shown = ", ".join(f"{errors[np.abs(leads - t).argmin()]:.2f} at {t:g}" for t in (0.05, 0.5, 1, 2, 3, 4))
    report.note(f"jump filter: errors of forecasts {shown}")
    report.note(f"jump filter: horizon of an error of {FAR:g}: told {told:.2f}, met {met:.2f}")
    report.within("jump filter: horizon that its errors meet, in parts of the one told", met / told, 0.67, 1.5)


def forecast_errors(forecaster: JumpODEForecaster) -> tuple[np.ndarray, np.ndarray]:
    """Leads, and the geometric mean over series of how far forecasts are from the true state there.

    Beyond the horizon of its training a forecast returns to the mean; here it goes on along the flow, whose exponents
    are looked at.
    """
    forecaster = copy.deepcopy(forecaster)
    forecaster.module_.reach.reset()
    rng = np.random.default_rng(7)
    leads = np.arange(NEAR, 8.0, 0.05)
    parts, truths = [], {}
    for series in range(N_FORECASTS):
        times = np.sort(rng.uniform(0, 5.0, 100))
        states = path(from_attractor(rng), np.concatenate([times, times[-1] + leads]), 14.0)
        values = states[:100] + NOISE * rng.normal(size=(100, 3))
        parts.append(pd.DataFrame(values, columns=NAMES).assign(unique_id=series, ds=times))
        truths[series] = times[-1] + leads, states[100:]
    found = forecaster.predict(times={key: times for key, (times, _) in truths.items()}, context=pd.concat(parts))
    away = [
        np.linalg.norm(found[found["unique_id"] == key][NAMES].to_numpy() - states, axis=1)
        for key, (_, states) in truths.items()
    ]
    return leads, np.exp(np.log(np.stack(away)).mean(axis=0))


def known_equations(report: Report) -> None:
    def rates(t: torch.Tensor, u: torch.Tensor, p: object) -> tuple[torch.Tensor, ...]:
        x, y, z = u.unbind(dim=-1)
        return p.sigma * (y - x), x * (p.rho - z) - y, x * y - p.beta * z  # type: ignore[attr-defined]

    rows = seen(1, 5.0, 0.1, 1.0, seed=3)
    model = KnownODEForecaster(
        rates,
        states=NAMES,
        parameters={
            "sigma": LogNormal(math.log(10), 0.2), "rho": LogNormal(math.log(28), 0.2),
            "beta": LogNormal(math.log(2.7), 0.2), "noise": LogNormal(0.0, 1.0),
        },
        initial={"x": Normal(0, 15), "y": Normal(0, 15), "z": Normal(25, 15)},
        observed={name: AdditiveNoise(name, sd="noise") for name in NAMES},
        segments="auto", inference="laplace", horizon=1.0, random_state=0,
    ).fit(rows)  # fmt: skip
    system = fitted_system(model, n_draws=32)
    table = lyapunov_spectrum(system, duration=30.0, transient=10.0)
    first = table.iloc[0]
    report.note(f"known equations: {first.iloc[0]:.3f}, from {first['q05']:.3f} to {first['q95']:.3f}")
    report.at_most("known equations: first exponent from .9056", abs(float(first.iloc[0]) - TRUTH), 0.15 * TRUTH)
    report.at_most("known equations: low end of its band", float(first["q05"]), TRUTH)
    report.at_least("known equations: high end of its band", float(first["q95"]), TRUTH)
    report.at_most("known equations: width of its band", float(first["q95"] - first["q05"]), 0.3)
    report.at_most("known equations: sum from the divergence, worst draw", table.attrs["trace_error"], 1e-3)
    band = predictability_horizon(table, 1e-6, 1e-1)
    report.at_most("known equations: horizon, low end", float(band["q05"]), 12.713)
    report.at_least("known equations: horizon, high end", float(band["q95"]), 12.713)
    growth = finite_time_exponents(system, times=[0.5, 1.0, 2.0])
    report.at_least("known equations: growth along the forecast, high end above low end, share", float(
        (growth["log_growth_q95"] > growth["log_growth_q05"]).mean()), 1.0)  # fmt: skip


def kalman_filters(report: Report) -> None:
    """Half-lives beside the closed loop of the steady filter, by SciPy's solution of the Riccati equation."""
    worst = 0.0
    for d, c, gap in ((1, 1, 1.0), (2, 1, 0.5), (3, 2, 0.25), (6, 2, 1.0), (12, 3, 0.1)):
        rng = np.random.default_rng(d)
        turn = rng.normal(size=(d, d))
        drift = turn - turn.T - np.diag(rng.uniform(0.2, 1.0, d))
        diffusion, readout, noise = rng.normal(size=(d, d)), rng.normal(size=(c, d)), rng.uniform(0.3, 1.0, c)
        values = rng.normal(size=(20, c)).cumsum(axis=0)
        frame = pd.DataFrame(values, index=pd.Index(gap * np.arange(20.0)), columns=[f"y{i}" for i in range(c)])
        system = {"drift": drift, "diffusion": diffusion, "readout": readout, "noise": noise}
        found = float(forgetting(LinearSDEForecaster(system=system).fit(frame))["half_life_units"].iloc[0])
        both = expm(np.block([[drift, diffusion @ diffusion.T], [np.zeros((d, d)), -drift.T]]) * gap)
        moved = both[:d, :d]
        before = solve_discrete_are(moved.T, readout.T, both[:d, d:] @ moved.T, np.diag(noise**2))
        gain = before @ readout.T @ np.linalg.inv(readout @ before @ readout.T + np.diag(noise**2))
        loop = np.abs(np.linalg.eigvals((np.eye(d) - gain @ readout) @ moved)).max()
        half_life = -math.log(2.0) * gap / math.log(loop)
        worst = max(worst, abs(found / half_life - 1))
    report.at_most("Kalman filters: half-life of what was seen from that of the closed loop", worst, 1e-8)

"""Positive channels: forecasts on the scale of a logarithm or root beside those on the scale of the values.

Three panels, and of each three seeds, which say what is trained on, and start the training:

- glucose: one day of each person in `load_cgm`, every 15 minutes. 40 are trained on; of the others three hours are
  forecast from 18.
- indomethacin: the six subjects in `load_indomethacin`. Four are trained on; of the others each value is forecast from
  those before it.
- phenobarbital: a simulated panel like that of Grasela & Donn 1985. 59 newborns with a loading dose and doses of
  upkeep, from 1 to 6 concentrations each; one compartment, a noise of 12 % of the value, clearances that differ by
  25 % and volumes by 20 %. Of 200 others each concentration is forecast from those before it, and from the doses.

What stands beside a bar is the CRPS of all held-out values as a share of that with ``support="real"``, over the seeds,
and the share of 5 % quantiles that are below zero.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tests.benchmarks.structural_parts.report import Report
from tsode import JumpODEForecaster, LatentODEForecaster, LatentSDEForecaster, LinearSDEForecaster
from tsode.datasets import load_cgm, load_indomethacin

__all__ = ["run"]

SEEDS = [0, 1, 2]
NOT_WORSE = 1.01  # times the CRPS of support="real"
SMALL = {"n_encoder": 32, "n_hidden": 32, "max_epochs": 20}

FORECASTERS: dict[str, Callable[..., Any]] = {
    "LinearSDE": lambda **kw: LinearSDEForecaster(max_epochs=10, **kw),
    "JumpODE": lambda **kw: JumpODEForecaster(n_modes=8, n_static=8, n_hidden=32, max_epochs=20, **kw),
    "LatentODE": lambda **kw: LatentODEForecaster(n_modes=8, n_static=8, **SMALL, **kw),
    "LatentSDE": lambda **kw: LatentSDEForecaster(n_state=4, **SMALL | {"max_epochs": 8}, **kw),
}


class Task(NamedTuple):
    """What is trained on, what is forecast from it, and the events of both."""

    train: pd.DataFrame
    ahead: pd.DataFrame
    context: pd.DataFrame | None
    events: pd.DataFrame | None
    horizon: float


def glucose(seed: int) -> Task:
    frame = load_cgm()
    frame = frame[frame["ds"] < 24 * 60].groupby("unique_id").nth(slice(None, None, 3))
    ids = np.random.default_rng(seed).permutation(frame["unique_id"].unique())
    is_train, is_past = frame["unique_id"].isin(ids[:40]), frame["ds"] <= 18 * 60
    is_ahead = ~is_train & ~is_past & (frame["ds"] <= 21 * 60)
    return Task(frame[is_train], frame[is_ahead], frame[~is_train & is_past], None, 180.0)


def indomethacin(seed: int) -> Task:
    frame = load_indomethacin()
    ids = np.random.default_rng(seed).permutation(frame["unique_id"].unique())
    is_train = frame["unique_id"].isin(ids[:4])
    return Task(frame[is_train], frame[~is_train], None, None, 3.0)


def phenobarbital(seed: int) -> Task:
    generator, rows, doses = np.random.default_rng(seed), [], []
    n_train, n_test = 59, 200
    for k in range(n_train + n_test):
        key, n_upkeep = f"baby-{k:03d}", int(generator.integers(0, 14))
        at = np.concatenate([[0.0], 12.0 * np.arange(1, n_upkeep + 1)])
        amount = np.concatenate([[generator.uniform(10.0, 25.0)], np.full(n_upkeep, generator.uniform(2.0, 4.0))])
        volume, clearance = 1.0 * np.exp(0.2 * generator.normal()), 0.0068 * np.exp(0.25 * generator.normal())
        n_seen = int(generator.choice([1, 2, 3, 4, 5, 6], p=[0.2, 0.25, 0.25, 0.15, 0.1, 0.05]))
        times = np.sort(generator.uniform(1.0, at[-1] + 96.0, n_seen)).round(1)
        gap = times[:, None] - at
        level = np.where(gap > 0.0, amount / volume * np.exp(-clearance / volume * np.maximum(gap, 0.0)), 0.0).sum(1)
        value = level * np.exp(0.12 * generator.normal(size=n_seen))
        rows.append(pd.DataFrame({"unique_id": key, "ds": times, "mg_per_l": value}))
        doses.append(pd.DataFrame({"unique_id": key, "ds": at, "amount": amount}))
    ids = [f"baby-{k:03d}" for k in range(n_train)]
    frame, events = pd.concat(rows).drop_duplicates(["unique_id", "ds"]), pd.concat(doses, ignore_index=True)
    is_train = frame["unique_id"].isin(ids)
    return Task(frame[is_train], frame[~is_train], None, events, 100.0)


def measured(forecaster: Any, task: Task) -> tuple[float, float]:
    """CRPS of what is held out, and the share of 5 % quantiles below zero."""
    tables = {} if task.events is None else {"events": task.events}
    given = (
        {} if task.events is None else {"events": task.events[task.events["unique_id"].isin(task.train["unique_id"])]}
    )
    fitted = forecaster.fit(task.train, **given)
    error = -fitted.score(task.ahead, context=task.context, metric="crps", **tables)
    context = task.ahead if task.context is None else task.context
    rows = task.ahead[["unique_id", "ds"]]
    low = fitted.predict_quantiles(rows, context=context, quantiles=[0.05], **tables).iloc[:, -1]
    return error, float((low < 0.0).mean())


TASKS = (glucose, indomethacin, phenobarbital)


def run(report: Report) -> None:
    for task_of in TASKS:
        tasks = {seed: task_of(seed) for seed in report.some(SEEDS)}
        for name, build in FORECASTERS.items():
            if name == "LatentSDE" and next(iter(tasks.values())).events is not None:
                continue  # it reads no events
            errors, shares = {}, {}
            started = time.process_time()
            for support in ("real", "positive", "auto"):
                found = [
                    measured(build(horizon=task.horizon, support=support, random_state=seed), task)
                    for seed, task in tasks.items()
                ]
                errors[support], shares[support] = np.array(found).T
                each = ", ".join(f"{error:.4g}" for error in errors[support])
                print(
                    f"{task_of.__name__}, {name}, support={support!r}: CRPS {each}; below zero "
                    f"{100.0 * shares[support].mean():.1f} %",
                    flush=True,
                )
            label = f"{task_of.__name__}, {name}"
            report.at_most(f"{label}: share of 5 % quantiles below zero, 'positive'", shares["positive"].max(), 0.0)
            for support in ("positive", "auto"):
                ratio = float(errors[support].mean() / errors["real"].mean())
                report.at_most(f"{label}: CRPS of {support!r} by that of 'real'", ratio, NOT_WORSE)
            report.note(f"{time.process_time() - started:.1f} CPU-s")

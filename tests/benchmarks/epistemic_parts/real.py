"""Epistemic variance by squared errors, on stations, stays and people never seen in fit.

No one knows the best forecast. But what the squared error of a small panel has beyond that of the largest, on the same
values, is to be what its epistemic variance has beyond: a ratio of 1. Rank correlations are with squared errors, given
the aleatoric part. Everything is in variances of the channels. In brackets stands what the members' disagreement alone
gives.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from tests.benchmarks.epistemic_parts.spreads import Spread, by_members, by_rank, partly, spread_of
from tests.benchmarks.first_hour_parts import panels
from tests.benchmarks.first_hour_parts.trials import channels_of
from tests.benchmarks.small_panels_parts.forecasters import forecaster
from tests.benchmarks.structural_parts.report import Report

__all__ = ["run"]

SEEDS = (1, 2, 3)
FIFTHS = 5
N_STATIONS, N_STAYS = 20, 100  # asked about


class Task(NamedTuple):
    """Series to learn from, what is asked of others, and sizes of panels."""

    train: pd.DataFrame
    ahead: pd.DataFrame
    context: pd.DataFrame
    horizon: object
    sizes: tuple[int, ...]


def stations() -> Task:
    trial = panels.ushcn()[0]
    names = np.array(sorted(trial.train["unique_id"].unique()), dtype=object)
    out = set(np.random.default_rng(0).permutation(names)[:N_STATIONS])
    contexts, asked = [], []
    for k, question in enumerate(trial.questions):
        for rows, kept in ((question.context, contexts), (question.ahead, asked)):
            assert rows is not None
            kept.append(rows[rows["unique_id"].isin(out)].assign(unique_id=lambda r, k=k: r["unique_id"] + f" {k}"))
    train = trial.train[~trial.train["unique_id"].isin(out)]
    return Task(train, pd.concat(asked), pd.concat(contexts), trial.horizon, (10, 30, 100))


def stays() -> Task:
    trial = panels.physionet()[0]
    question = trial.questions[0]
    assert question.context is not None
    out = sorted(question.ahead["unique_id"].unique())[:N_STAYS]
    ahead, context = (rows[rows["unique_id"].isin(out)] for rows in (question.ahead, question.context))
    return Task(trial.train, ahead, context, trial.horizon, (10, 30, 100))


def people() -> Task:
    trial = panels.glucose()[0]
    question = trial.questions[0]
    assert question.context is not None
    return Task(trial.train, question.ahead, question.context, trial.horizon, (10, 30))


TASKS: dict[str, Callable[[], Task]] = {"people": people, "stays": stays, "stations": stations}


def run(report: Report) -> None:
    for name, make in TASKS.items():
        task = make()
        channels = channels_of(task.ahead)
        size = task.train[channels].std().to_numpy()
        is_seen = task.ahead[channels].notna().to_numpy()
        unit = np.broadcast_to(size**2, is_seen.shape)[is_seen]
        truth = task.ahead[channels].to_numpy()[is_seen]
        found: dict[int, list[tuple[np.ndarray, Spread, Spread]]] = {n: [] for n in task.sizes}
        for seed in report.some(SEEDS):
            order = np.random.default_rng(seed).permutation(
                np.array(sorted(task.train["unique_id"].unique()), dtype=object)
            )
            for n in task.sizes:
                started = time.process_time()
                train = task.train[task.train["unique_id"].isin(order[:n])]
                model = forecaster(seed, horizon=task.horizon).fit(train)
                seconds = time.process_time() - started
                now, alone = (
                    Spread(one.mean, one.total / unit, one.epistemic / unit)
                    for one in (spread_of(of, task.ahead, task.context, channels) for of in (model, by_members(model)))
                )
                found[n].append(((truth - now.mean) ** 2 / unit, now, alone))
                print(f"{name}, {n} series, seed {seed}: fit {seconds:.1f} CPU-s", flush=True)
        _tell(report, name, found)


def _tell(report: Report, name: str, found: dict[int, list[tuple[np.ndarray, Spread, Spread]]]) -> None:
    largest = max(found)
    means = {
        n: np.mean([[e.mean(), s.epistemic.mean(), a.epistemic.mean()] for e, s, a in of], axis=0)
        for n, of in found.items()
    }
    for n, of in found.items():
        error, part, alone = means[n]
        total = float(np.mean([s.total.mean() for _, s, _ in of]))
        given, given_alone = (
            float(np.mean([partly(both[k].epistemic, e, both[k].aleatoric) for e, *both in of])) for k in (0, 1)
        )
        plain = np.mean([by_rank(s.epistemic, e) for e, s, _ in of])
        fifths = np.mean([_fifths(e, s) for e, s, _ in of], axis=0)
        report.note(
            f"{name}, {n} series: squared error {error:.4f}, total {total:.4f}, epistemic {part:.4f} ({alone:.4f}); "
            f"rank correlation {plain:.2f}, given the aleatoric part {given:.2f} ({given_alone:.2f})"
        )
        report.note(
            f"{name}, {n} series: squared error by total variance, in fifths of the epistemic share: "
            + " ".join(f"{x:.2f}" for x in fifths)
        )
        if n == min(found):
            report.at_least(
                f"{name}, {n} series: rank correlation of epistemic part and squared error", float(plain), 0.1
            )
        if n != largest:
            more = error - means[largest][0]
            report.note(
                f"{name}, {n} series: squared error beyond that of {largest} series {more:.4f}; epistemic beyond by it "
                f"{(part - means[largest][1]) / more:.2f} ({(alone - means[largest][2]) / more:.2f})"
            )
    report.at_least(
        f"{name}: epistemic part of {min(found)} series by that of {largest}",
        means[min(found)][1] / means[largest][1],
        1.2,
    )


def _fifths(error: np.ndarray, spread: Spread) -> np.ndarray:
    """Squared error by total variance in each fifth of the forecasts, by the epistemic share of theirs."""
    order = np.argsort(spread.epistemic / spread.total, kind="stable")
    return np.array([error[rows].mean() / spread.total[rows].mean() for rows in np.array_split(order, FIFTHS)])

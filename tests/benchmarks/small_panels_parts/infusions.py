"""Infusions and boluses of a three-compartment drug: CRPS of washout forecasts over that of the true model.

Thirty subjects get two to four doses of 50 to 300 mg, at once or over 1 to 12 hours, and have twelve concentrations
taken at random in 60 hours, with a log-normal error of 15 %. Then other subjects are forecast for 20 hours from eight
concentrations: half way through an infusion of 4 to 12 hours, and a quarter of an hour after its end.

- alike: clearance and volumes are the same for all. The true model is the closed form with its noise.
- varied: they are log-normal around those (30 % in clearance, 25 and 20 % in the others). The true model of the
  population knows this law; told of a subject's concentrations too, it is the posterior, by 20,000 draws of the prior.

The bars are those of the default, which chooses ``zero_input_response`` by held-out windows; beside it stand the same
without, and a linear system.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtr

from tests.benchmarks.structural_parts.report import Report
from tsode import JumpODEForecaster, LinearSDEForecaster
from tsode.estimators.forecasters.base import BaseForecaster

__all__ = ["run"]

TYPICAL = np.log([4.0, 10.0, 8.0, 15.0, 2.0, 30.0])  # clearance, and volume and exchange of each compartment
VARIED = np.array([0.3, 0.25, 0.2, 0.2, 0.2, 0.2])
NOISE = 0.15
N_TRAIN, N_TEST, TEST_SEED = 30, 80, 10_000
N_TIMES, N_AHEAD, HORIZON = 8, 8, 20.0
SEEDS = [1, 2, 3]
LEVELS = np.arange(1, 100) / 100.0
BAR = 1.3
MODELS = {
    "default": lambda seed: JumpODEForecaster(horizon=HORIZON, random_state=seed),
    "zero_input_response=False": lambda seed: JumpODEForecaster(
        zero_input_response=False, horizon=HORIZON, random_state=seed
    ),
    "LinearSDEForecaster": lambda seed: LinearSDEForecaster(horizon=HORIZON, random_state=seed),
}


class Subject(NamedTuple):
    """Parameters (6), doses (n 3: start, amount, duration), times and concentrations, and those ahead."""

    parameters: np.ndarray
    doses: np.ndarray
    times: np.ndarray
    values: np.ndarray
    ahead: np.ndarray
    truth: np.ndarray


def concentrations(parameters: np.ndarray, times: np.ndarray, doses: np.ndarray) -> np.ndarray:
    """Closed form, by the modes of the compartments: (n 6), (m), (k 3) -> (n m)."""
    clearance, v1, q2, v2, q3, v3 = parameters.T
    rates = np.zeros((len(parameters), 3, 3))
    rates[:, 0] = np.stack([-(clearance + q2 + q3) / v1, q2 / v2, q3 / v3], axis=1)
    rates[:, 1, 0], rates[:, 1, 1] = q2 / v1, -q2 / v2
    rates[:, 2, 0], rates[:, 2, 2] = q3 / v1, -q3 / v3
    decay, modes = (part.real for part in np.linalg.eig(rates))
    weight = (modes[:, 0] * np.linalg.inv(modes)[:, :, 0] / v1[:, None])[:, None]
    decay, found = decay[:, None], np.zeros((len(parameters), len(times)))
    for start, amount, duration in doses:
        since = np.maximum(times - start, 0.0)[:, None]
        if duration:
            during = np.minimum(since, duration)
            left = amount / duration * np.expm1(decay * during) / decay * np.exp(decay * (since - during))
        else:
            left = amount * np.exp(decay * since) * (times >= start)[:, None]
        found += (weight * left).sum(axis=2)
    return found


def draw(n: int, spread: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.exp(TYPICAL + spread * rng.standard_normal((n, 6)))


def draw_doses(rng: np.random.Generator) -> np.ndarray:
    n = int(rng.integers(2, 5))
    starts = np.sort(rng.uniform(0.0, 40.0, n))
    starts[0] = 0.0
    durations = rng.choice([0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 12.0], n)
    return np.stack([starts, rng.uniform(50.0, 300.0, n), durations], axis=1)


def measured(parameters: np.ndarray, times: np.ndarray, doses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return concentrations(parameters[None], times, doses)[0] * np.exp(NOISE * rng.standard_normal(len(times)))


def train_subjects(n: int, spread: np.ndarray, rng: np.random.Generator) -> list[Subject]:
    found, none = [], np.empty(0)
    for parameters in draw(n, spread, rng):
        doses, times = draw_doses(rng), np.sort(rng.uniform(0.2, 60.0, 12))
        found.append(Subject(parameters, doses, times, measured(parameters, times, doses, rng), none, none))
    return found


def test_subjects(n: int, spread: np.ndarray, when: str, rng: np.random.Generator) -> list[Subject]:
    found = []
    for parameters in draw(n, spread, rng):
        doses = draw_doses(rng)
        doses[-1] = 30.0 + rng.uniform(0.0, 6.0), rng.uniform(50.0, 300.0), rng.choice([4.0, 8.0, 12.0])
        doses[:-1, 0] = np.minimum(doses[:-1, 0], 28.0)
        end = doses[-1, 0] + doses[-1, 2]
        cut = end - 0.5 * doses[-1, 2] if when == "while it runs" else end + 0.25
        times, ahead = np.sort(rng.uniform(0.2, cut, N_TIMES)), np.sort(cut + rng.uniform(0.05, HORIZON, N_AHEAD))
        values = measured(parameters, np.concatenate([times, ahead]), doses, rng)
        found.append(Subject(parameters, doses, times, values[:N_TIMES], ahead, values[N_TIMES:]))
    return found


def tables(subjects: list[Subject]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Concentrations, those ahead, and doses."""
    rows, ahead, doses = [], [], []
    for k, subject in enumerate(subjects):
        name = f"s{k:03d}"
        rows.append(pd.DataFrame({"unique_id": name, "ds": subject.times, "mg_l": subject.values}))
        ahead.append(pd.DataFrame({"unique_id": name, "ds": subject.ahead, "mg_l": subject.truth}))
        start, amount, duration = subject.doses.T
        given = {"ds": start, "kind": "add", "amount": amount, "duration": np.where(duration > 0, duration, np.nan)}
        doses.append(pd.DataFrame({"unique_id": name, **given}))
    return tuple(pd.concat(part, ignore_index=True) for part in (rows, ahead, doses))  # type: ignore[return-value]


def crps_of_noise(centre: np.ndarray, y: np.ndarray) -> np.ndarray:
    """CRPS of log-normals around `centre` (Baran & Lerch 2015)."""
    omega = np.log(y / centre) / NOISE
    tail = ndtr(omega - NOISE) + ndtr(NOISE / np.sqrt(2.0)) - 1.0
    return y * (2.0 * ndtr(omega) - 1.0) - 2.0 * centre * np.exp(0.5 * NOISE**2) * tail


def crps_of_draws(draws: np.ndarray, y: np.ndarray) -> np.ndarray:
    """CRPS of each column of draws (n m) for ``y`` (m)."""
    ordered, n = np.sort(draws, axis=0), len(draws)
    weight = (2.0 * np.arange(1, n + 1) - n - 1.0) / n**2
    return np.abs(ordered - y).mean(axis=0) - weight @ ordered


def crps_of_truth(subjects: list[Subject], spread: np.ndarray, n_draws: int = 20_000) -> tuple[float, float]:
    """Of the law of the population, and of its posterior given a subject's own concentrations."""
    if not spread.any():
        typical = np.exp(TYPICAL)[None]
        same = [crps_of_noise(concentrations(typical, s.ahead, s.doses)[0], s.truth).mean() for s in subjects]
        return float(np.mean(same)), float(np.mean(same))
    rng = np.random.default_rng(0)
    prior, found = draw(n_draws, spread, rng), []
    for subject in subjects:
        error = np.log(subject.values / concentrations(prior, subject.times, subject.doses).clip(1e-12))
        fit = -0.5 * (error**2).sum(axis=1) / NOISE**2
        weight = np.exp(fit - fit.max())
        for p in (None, weight / weight.sum()):
            chosen = prior[rng.choice(n_draws, 500, p=p)]
            drawn = concentrations(chosen, subject.ahead, subject.doses)
            drawn = drawn * np.exp(NOISE * rng.standard_normal(drawn.shape))
            found.append(crps_of_draws(drawn, subject.truth).mean())
    return float(np.mean(found[::2])), float(np.mean(found[1::2]))


class Asked(NamedTuple):
    """What is forecast, and the CRPS of the true law and of its posterior."""

    seen: pd.DataFrame
    ahead: pd.DataFrame
    doses: pd.DataFrame
    law: float
    posterior: float


def crps_of(model: BaseForecaster, asked: Asked) -> float:
    rows = asked.ahead[["unique_id", "ds"]]
    table = model.predict_quantiles(rows, context=asked.seen, events=asked.doses, quantiles=tuple(LEVELS))
    off = asked.ahead["mg_l"].to_numpy()[:, None] - table.iloc[:, 2:].to_numpy()
    return float(2.0 * np.mean(np.maximum(LEVELS * off, (LEVELS - 1.0) * off)))


def run(report: Report) -> None:
    for name, spread in (("alike", 0.0 * VARIED), ("varied", VARIED)):
        questions = {}
        for when in ("while it runs", "after its end"):
            subjects = test_subjects(N_TEST, spread, when, np.random.default_rng(TEST_SEED))
            questions[when] = asked = Asked(*tables(subjects), *crps_of_truth(subjects, spread))
            report.note(f"{name}, {when}: CRPS of the law {asked.law:.3f} mg/l, of the posterior {asked.posterior:.3f}")
        for label, make in MODELS.items():
            found: dict[str, list[float]] = {when: [] for when in questions}
            started = time.process_time()
            for seed in report.some(SEEDS):
                rows, _, doses = tables(train_subjects(N_TRAIN, spread, np.random.default_rng(seed)))
                model = make(seed).fit(rows, events=doses)
                for when, asked in questions.items():
                    found[when].append(crps_of(model, asked))
            for when, asked in questions.items():
                what, mean = f"{name}, {when}, {label}: CRPS by that of", float(np.mean(found[when]))
                each = ", ".join(f"{one / asked.law:.2f}" for one in found[when])
                if label != "default":
                    report.note(f"{what} the true law {mean / asked.law:.2f} ({each})")
                    continue
                report.at_most(f"{what} the true law", mean / asked.law, BAR)
                if spread.any():
                    report.at_most(f"{what} its posterior", mean / asked.posterior, BAR)
                report.note(f"by that of the law, each seed: {each}")
            report.note(f"{label}: {(time.process_time() - started) / len(report.some(SEEDS)):.1f} CPU-s a seed")

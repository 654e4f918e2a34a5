"""Glucose of people never seen in training, 30 to 120 minutes ahead, beside a ridge autoregression per lead.

Each seed splits the bundled people 60 to 40 and draws 30 cutoffs of each of the latter, where the last two hours and
the four leads are all there. The forecaster is shown 12 hours of history; the autoregression, fitted at every such
place of the former people, the last 24 readings. Its intervals are normal, with the standard deviation of its errors
in training at each lead. CRPS is that of 19 quantiles of either.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.benchmarks.small_panels_parts.forecasters import forecaster
from tests.benchmarks.structural_parts.report import Report
from tests.benchmarks.structural_parts.scores import LEVELS, crps, holds
from tsode.datasets import load_cgm
from tsode.estimators import BaseForecaster

__all__ = ["run"]

SEEDS = list(range(1, 6))
STEP = 5.0  # minutes between readings
LEADS = np.array([6, 12, 18, 24])  # readings
N_LAGS, HISTORY, N_CUTOFFS = 24, 12 * 60.0, 30


class Places(NamedTuple):
    """Times of cutoffs (m), the readings up to each (m 24), the last one first, and those at the leads (m 4)."""

    times: np.ndarray
    lags: np.ndarray
    ahead: np.ndarray

    def some(self, chosen: np.ndarray) -> Places:
        return Places(*(column[chosen] for column in self))


def run(report: Report) -> None:
    people = dict(iter(load_cgm().groupby("unique_id")))
    print(f"{'seed':>4} {'':<10} {'MSE':>7} {'CRPS':>7} {'90 %':>6}  RMSE at 30, 60, 90 and 120 minutes")
    for seed in report.some(SEEDS):
        generator = np.random.default_rng(seed)
        names = generator.permutation(np.array(sorted(people), dtype=object))
        n = round(0.6 * len(names))
        places = {name: _places(rows) for name, rows in people.items()}
        asked = {}
        for name in names[n:]:
            is_late = places[name].times >= HISTORY
            chosen = generator.permutation(np.flatnonzero(is_late))[:N_CUTOFFS]
            asked[name] = places[name].some(np.sort(chosen))
        truth = np.concatenate([one.ahead for one in asked.values()])
        ridge = _ridge([places[name] for name in names[:n]], list(asked.values()))
        started = time.process_time()
        train = pd.concat([people[name] for name in names[:n]])
        model = forecaster(seed, horizon=STEP * LEADS[-1]).fit(train)
        seconds = time.process_time() - started
        ours = _forecasts(model, people, asked)
        wanted, found = _scores(seed, "ridge", truth, *ridge), _scores(seed, "forecaster", truth, *ours)
        report.at_most(f"seed {seed}: squared error by the ridge's", found[0] / wanted[0], 1.0)
        report.at_most(f"seed {seed}: CRPS by the ridge's", found[1] / wanted[1], 1.0)
        report.note(f"fit {seconds:.0f} CPU-s")


def _places(rows: pd.DataFrame) -> Places:
    """Where the readings before and at the leads are all there."""
    slot = np.round(rows["ds"].to_numpy() / STEP).astype(int)
    value = np.full(slot[-1] + 1, np.nan)
    value[slot] = rows["glucose_mg_dl"]
    time = np.full(len(value), np.nan)
    time[slot] = rows["ds"]
    now = np.arange(N_LAGS - 1, len(value) - LEADS[-1])
    lags, ahead = value[now[:, None] - np.arange(N_LAGS)], value[now[:, None] + LEADS]
    is_there = ~np.isnan(lags).any(axis=1) & ~np.isnan(ahead).any(axis=1)
    return Places(time[now], lags, ahead).some(is_there)


def _ridge(train: list[Places], asked: list[Places]) -> tuple[np.ndarray, np.ndarray]:
    """Means (m 4) and quantiles (m 4 19)."""
    lags, ahead = (np.concatenate([one[k] for one in train]) for k in (1, 2))
    at = np.concatenate([one.lags for one in asked])
    mean, sd = [], []
    for lead in range(len(LEADS)):
        model = make_pipeline(StandardScaler(), Ridge(alpha=1.0)).fit(lags, ahead[:, lead])
        mean.append(model.predict(at))
        sd.append(np.std(ahead[:, lead] - model.predict(lags)))
    found = np.stack(mean, axis=1)
    return found, found[..., None] + np.array(sd)[:, None] * norm.ppf(LEVELS)


def _forecasts(
    model: BaseForecaster, people: dict[str, pd.DataFrame], asked: dict[str, Places]
) -> tuple[np.ndarray, np.ndarray]:
    """Means (m 4) and quantiles (m 4 19), from histories that are series of their own."""
    histories, questions = [], []
    for name, places in asked.items():
        rows = people[name]
        for cutoff in places.times:
            key = f"{name} at {cutoff:g}"
            is_past = (rows["ds"] <= cutoff) & (rows["ds"] > cutoff - HISTORY)
            histories.append(rows[is_past].assign(unique_id=key))
            questions.append(pd.DataFrame({"unique_id": key, "ds": cutoff + STEP * LEADS}))
    context, question = pd.concat(histories), pd.concat(questions)
    mean = model.predict(question, context=context)["glucose_mg_dl"].to_numpy()
    table = model.predict_quantiles(question, context=context, quantiles=list(LEVELS))
    quantiles = table[[f"glucose_mg_dl-q-{level:g}" for level in LEVELS]].to_numpy()
    return mean.reshape(-1, len(LEADS)), quantiles.reshape(-1, len(LEADS), len(LEVELS))


def _scores(seed: int, who: str, truth: np.ndarray, mean: np.ndarray, quantiles: np.ndarray) -> tuple[float, float]:
    """Mean squared error and CRPS over all leads, printed with more."""
    flat = quantiles.reshape(-1, len(LEVELS))
    squared = (truth - mean) ** 2
    found = float(squared.mean()), crps(truth.ravel(), flat)
    by_lead = " ".join(f"{rmse:.2f}" for rmse in np.sqrt(squared.mean(axis=0)))
    share = holds(truth.ravel(), flat)
    print(f"{seed:>4} {who:<10} {found[0]:>7.1f} {found[1]:>7.3f} {share:>6.1f}  {by_lead}", flush=True)
    return found

"""Direct regressions on what was seen: last value, ridge and LightGBM, with errors of series that were left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from tests.benchmarks.first_hour_parts.peers.features import Examples, Told, asked_of, drawn_from
from tests.benchmarks.first_hour_parts.trials import Trial
from tests.benchmarks.structural_parts.scores import LEVELS

__all__ = ["forecast"]

N_FOLDS = 5
FEWEST_A_BIN, MOST_BINS = 60, 8
FEW = 3, 1_000  # last values that are read and averaged, of what is sporadic
MANY = 24, 240  # and of what is regular
MOST_PAIRS = {"last value": 40_000, "ridge": 40_000, "LightGBM": 20_000}
MOST_LEADS = 48
ALPHAS = np.logspace(-2.0, 5.0, 15)
TREES: dict[str, Any] = {
    "n_estimators": 400,
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_child_samples": 20,
    "subsample": 0.8,
    "subsample_freq": 1,
    "colsample_bytree": 0.8,
    "random_state": 0,
    "n_jobs": 1,
    "verbose": -1,
}
PATIENCE = 30


class Law(Protocol):
    """Quantiles (m 19) of one channel at features, base and lead."""

    def __call__(self, features: np.ndarray, base: np.ndarray, lead: np.ndarray) -> np.ndarray: ...


def forecast(name: str, trial: Trial) -> list[np.ndarray]:
    """Quantiles (m c 19) of each question."""
    values = trial.train[trial.channels].to_numpy(float)
    is_smooth, is_skewed = name == "ridge", _is_skewed(values)
    told = Told(trial, *FEW, is_smooth, is_skewed)
    leads = _few_leads(trial, told)
    if leads is not None and name != "last value":
        told = Told(trial, *MANY, is_smooth, is_skewed)
    examples = drawn_from(told, MOST_PAIRS[name] * (1 if leads is None else 4), leads)
    per_lead = leads if name == "ridge" else None
    laws = [LAWS[name](examples, k, per_lead) for k in range(len(trial.channels))]
    answers = []
    for question in trial.questions:
        answer = np.full((*question.truth.shape, len(LEVELS)), np.nan)
        for features, base, lead, places in asked_of(told, question):
            for k, law in enumerate(laws):
                answer[places, k] = law(features, base[:, k], lead)
        answers.append(np.moveaxis(told.back(np.moveaxis(answer, 1, -1)), -1, 1))
    return answers


def _is_skewed(values: np.ndarray) -> np.ndarray:
    """Channels that are positive and skewed to the right are learned as logarithms (c)."""
    centred = values - np.nanmean(values, axis=0)
    skew = np.nanmean(centred**3, axis=0) / np.nanmean(centred**2, axis=0) ** 1.5
    return (np.nanmin(values, axis=0) > 0.0) & (skew > 1.0)


def _few_leads(trial: Trial, told: Told) -> np.ndarray | None:
    """The leads that are asked for, by the horizon, where they are few and whole steps; then each has its own model."""
    leads = np.unique([round(x, 9) for q in trial.questions for *_, lead, _ in asked_of(told, q) for x in lead])
    return leads if trial.step is not None and len(leads) <= MOST_LEADS else None


def _parts(group: np.ndarray) -> list[np.ndarray]:
    """Which examples are left out in turn: whole series."""
    names = np.random.default_rng(0).permutation(np.unique(group))
    return [np.isin(group, part) for part in np.array_split(names, min(N_FOLDS, len(names)))]


class ErrorsByLead:
    """Quantiles of errors in bins of lead, between whose middles they are straight lines."""

    def __init__(self, lead: np.ndarray, error: np.ndarray) -> None:
        n = int(np.clip(len(error) // FEWEST_A_BIN, 1, MOST_BINS))
        order = np.array_split(np.argsort(lead, kind="stable"), n)
        self.middles = np.array([lead[part].mean() for part in order])
        self.quantiles = np.array([np.quantile(error[part], LEVELS) for part in order])

    def __call__(self, lead: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(lead, self.middles, column) for column in self.quantiles.T], axis=1)


def last_value(examples: Examples, k: int, _: np.ndarray | None) -> Law:
    is_seen = ~np.isnan(examples.values[:, k])
    errors = ErrorsByLead(examples.lead[is_seen], (examples.values - examples.base)[is_seen, k])
    return lambda features, base, lead: base[:, None] + errors(lead)


class Ridge:
    """Ridge whose penalty forecasts series best that are left out, and its errors on those."""

    def __init__(self, features: np.ndarray, base: np.ndarray, lead: np.ndarray, y: np.ndarray, group: np.ndarray):
        self.shift, deviation = features.mean(axis=0), features.std(axis=0)
        self.scale = np.where(deviation > 0.0, deviation, 1.0)
        design, wanted = self._design(features), y - base
        penalty = np.diag(np.r_[0.0, np.ones(features.shape[1])])
        parts = _parts(group)
        # of the rows that remain when a part is left out
        grams = [design[~part].T @ design[~part] for part in parts]
        sides = [design[~part].T @ wanted[~part] for part in parts]
        best = np.inf
        for alpha in ALPHAS:
            error = np.empty(len(y))
            for part, gram, side in zip(parts, grams, sides, strict=True):
                error[part] = wanted[part] - design[part] @ np.linalg.solve(gram + alpha * penalty, side)
            if np.mean(error**2) < best:
                best, chosen, self.errors = float(np.mean(error**2)), alpha, ErrorsByLead(lead, error)
        self.weights = np.linalg.solve(design.T @ design + chosen * penalty, design.T @ wanted)

    def _design(self, features: np.ndarray) -> np.ndarray:
        return np.column_stack([np.ones(len(features)), (features - self.shift) / self.scale])

    def __call__(self, features: np.ndarray, base: np.ndarray, lead: np.ndarray) -> np.ndarray:
        return (base + self._design(features) @ self.weights)[:, None] + self.errors(lead)


def ridge(examples: Examples, k: int, leads: np.ndarray | None) -> Law:
    def fit(chosen: np.ndarray) -> Ridge:
        of = chosen & ~np.isnan(examples.values[:, k])
        return Ridge(
            examples.features[of], examples.base[of, k], examples.lead[of], examples.values[of, k], examples.group[of]
        )

    if leads is None:
        return fit(np.ones(len(examples.lead), dtype=bool))
    each = {lead: fit(np.abs(examples.lead - lead) < 1e-6) for lead in leads}

    def law(features: np.ndarray, base: np.ndarray, lead: np.ndarray) -> np.ndarray:
        answer = np.empty((len(lead), len(LEVELS)))
        for one, model in each.items():
            of = np.abs(lead - one) < 1e-6
            if of.any():
                answer[of] = model(features[of], base[of], lead[of])
        return answer

    return law


def lightgbm(examples: Examples, k: int, _: np.ndarray | None) -> Law:
    """Trees for each quantile of the difference from the last value, shifted to what left-out series show."""
    import lightgbm as lgb

    of = ~np.isnan(examples.values[:, k])
    features, y, group = examples.features[of], (examples.values - examples.base)[of, k], examples.group[of]
    out = _parts(group)[0]
    models, shifts = [], []
    for level in LEVELS:
        model = lgb.LGBMRegressor(objective="quantile", alpha=level, **TREES)
        stop = lgb.early_stopping(PATIENCE, verbose=False)
        models.append(model.fit(features[~out], y[~out], eval_set=[(features[out], y[out])], callbacks=[stop]))
        shifts.append(np.quantile(y[out] - model.predict(features[out]), level))
    shift = np.array(shifts)
    return lambda features, base, lead: (
        base[:, None] + shift + np.stack([model.predict(features) for model in models], axis=1)
    )


LAWS: dict[str, Callable[[Examples, int, np.ndarray | None], Law]] = {
    "last value": last_value,
    "ridge": ridge,
    "LightGBM": lightgbm,
}

"""Peers of single series that need a regular grid, or a kernel: what other libraries make of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from tests.benchmarks.first_hour_parts.trials import Question, Trial
from tests.benchmarks.peers_structural import MODELS, gaussian_process_at, intervals, prophet_at
from tests.benchmarks.structural_parts.scores import LEVELS

__all__ = ["MODELS_OF_GRIDS", "forecast"]

LONGEST_SEASON, N_HARMONICS = 12, 3


OfGrid = Callable[[np.ndarray, int], np.ndarray]
"""Quantiles (n 19) of so many rows after the values of a grid."""


class AutoARIMA:
    """Chosen on the first history, with harmonics of a season that it cannot take itself, and run over later ones."""

    def __init__(self, period: float) -> None:
        from statsforecast import models

        self.period = period
        self.has_harmonics = period > LONGEST_SEASON or period != round(period)
        self.model = models.AutoARIMA(season_length=1 if self.has_harmonics else int(period))
        self.is_fitted = False

    def __call__(self, values: np.ndarray, n_ahead: int) -> np.ndarray:
        index = np.arange(1 - len(values), n_ahead + 1)
        waves = [f(2.0 * np.pi * k * index / self.period) for k in range(1, N_HARMONICS + 1) for f in (np.sin, np.cos)]
        told = {}
        if self.has_harmonics:
            both = np.stack(waves, axis=1)
            told = {"X": both[: len(values)], "X_future": both[len(values) :]}
        if not self.is_fitted:
            self.model.fit(values, **{name: x for name, x in told.items() if name == "X"})
            self.is_fitted = True
        return intervals(lambda widths: self.model.forward(y=values, h=n_ahead, level=widths, **told))


def of_rows(name: str) -> Callable[[float], OfGrid]:
    """A model of `peers_structural`; without a season MSTL is what it forecasts its trend with."""

    def build(period: float) -> OfGrid:
        model = MODELS["AutoETS" if name == "MSTL" and period == 1 else name]
        return lambda values, n_ahead: model(values, round(period), n_ahead)

    return build


MODELS_OF_GRIDS: dict[str, Callable[[float], OfGrid]] = {
    "seasonal naive": of_rows("seasonal naive"),
    "AutoETS": of_rows("AutoETS"),
    "AutoARIMA": AutoARIMA,
    "MSTL": of_rows("MSTL"),
}
AT_TIMES = {"prophet": prophet_at, "Gaussian process": gaussian_process_at}


def forecast(name: str, trial: Trial) -> list[np.ndarray]:
    """Quantiles (m c 19) of each question, every channel by itself."""
    models: dict[str, OfGrid] = {}
    return [_answer(name, trial, question, models) for question in trial.questions]


def _answer(name: str, trial: Trial, question: Question, models: dict[str, OfGrid]) -> np.ndarray:
    history = trial.train if question.context is None else question.context
    answers = []
    for channel in trial.channels:
        seen = history.dropna(subset=[channel])
        end = seen["ds"].iloc[-1]
        at = ((seen["ds"] - end) / trial.step).to_numpy(float)
        asked = ((question.ahead["ds"] - end) / trial.step).to_numpy(float)
        values = seen[channel].to_numpy(float)
        if name in AT_TIMES:
            answers.append(AT_TIMES[name](at, values, trial.period, asked))
            continue
        if channel not in models:
            models[channel] = MODELS_OF_GRIDS[name](trial.period)
        n_ahead = int(np.ceil(asked.max()))
        table = models[channel](_grid(at, values), n_ahead)
        whole = np.arange(1, n_ahead + 1)
        answers.append(np.stack([np.interp(asked, whole, table[:, k]) for k in range(len(LEVELS))], axis=1))
    return np.stack(answers, axis=1)


def _grid(at: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means of what lies nearest to each whole step up to 0; straight lines over those without any."""
    means = pd.Series(values).groupby(np.round(at).astype(int)).mean()
    return np.interp(np.arange(means.index[0], 1), means.index, means.to_numpy())

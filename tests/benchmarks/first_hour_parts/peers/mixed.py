"""Linear mixed models of statsmodels: curves of a population, and a subject's own part by its first values.

Logarithms of what is positive are a linear function of the logarithm of time and of time, as of a dose that is absorbed
and decays, or of time alone in a trial without doses; each subject has an intercept and a slope of its own. A forecast
is the normal law given the subject's own values (best linear unbiased prediction), with the variance of what is left.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from scipy.stats import norm

from tests.benchmarks.first_hour_parts.trials import Question, Trial
from tests.benchmarks.structural_parts.scores import LEVELS

__all__ = ["forecast"]


def forecast(trial: Trial) -> list[np.ndarray]:
    """Quantiles (m c 19) of each question."""
    answers = [np.full((*question.truth.shape, len(LEVELS)), np.nan) for question in trial.questions]
    for k, channel in enumerate(trial.channels):
        model = _Model(trial, channel)
        for answer, question in zip(answers, trial.questions, strict=True):
            assert question.context is not None
            for name, places in question.ahead.reset_index(drop=True).groupby("unique_id").indices.items():
                seen = question.context[question.context["unique_id"] == name]
                asked = question.rows.iloc[places]
                answer[places, k] = model.quantiles(seen, asked, question)
    return answers


class _Model:
    """Fixed effects, covariance of a subject's intercept and slope, and variance of what is left, of one channel."""

    def __init__(self, trial: Trial, channel: str) -> None:
        import statsmodels.api as sm

        self.trial, self.channel = trial, channel
        rows = self._usable(trial.train)
        self.span = float(trial.train["ds"].max())
        fixed, random = self._design(rows, trial)
        self.shift, deviation = fixed.mean(axis=0), fixed.std(axis=0)
        self.scale = np.where(deviation > 0.0, deviation, 1.0)
        y = np.log(rows[channel].to_numpy(float))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a covariance at its edge
            fit = sm.MixedLM(y, self._scaled(fixed), rows["unique_id"].to_numpy(), random).fit(reml=True)
        self.weights, self.noise = np.asarray(fit.fe_params), float(fit.scale)
        self.covariance = np.asarray(fit.cov_re)
        self.of_weights = np.asarray(fit.cov_params())[: len(self.weights), : len(self.weights)]

    def _usable(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Values that have a logarithm; of doses, after them."""
        is_known = rows[self.channel] > 0.0
        return rows[is_known & (rows["ds"] > 0.0)] if self._has_doses else rows[is_known]

    @property
    def _has_doses(self) -> bool:
        return self.trial.static is None or self.trial.events is not None

    def _scaled(self, fixed: np.ndarray) -> np.ndarray:
        return np.column_stack([np.ones(len(fixed)), (fixed - self.shift) / self.scale])

    def _design(self, rows: pd.DataFrame, tables: Trial | Question) -> tuple[np.ndarray, np.ndarray]:
        time = rows["ds"].to_numpy(float)
        columns = [time / self.span]
        if self._has_doses:
            columns.append(np.log(np.maximum(time, 1e-3 * self.span)))
        if tables.events is not None and tables.static is not None:
            columns += self._doses(rows, tables.events, tables.static)
        elif tables.static is not None:
            static = rows[["unique_id"]].merge(tables.static, on="unique_id", how="left")
            for name in static.columns.drop("unique_id"):
                known = static[name]
                if not pd.api.types.is_numeric_dtype(known):
                    known = known == sorted(self.trial.static[name].unique())[0]  # type: ignore[index]
                columns.append(known.to_numpy(float))
        return np.stack(columns, axis=1), np.stack([np.ones(len(time)), time / self.span], axis=1)

    def _doses(self, rows: pd.DataFrame, events: pd.DataFrame, static: pd.DataFrame) -> list[np.ndarray]:
        """Logarithms of the dose per kg by then, of the time since the last one, and of the weight."""
        weight = static.set_index("unique_id")["weight_kg"]
        given, since = np.empty(len(rows)), np.empty(len(rows))
        for i, (name, time) in enumerate(zip(rows["unique_id"], rows["ds"], strict=True)):
            own = events[(events["unique_id"] == name) & (events["ds"] < time)]
            given[i], since[i] = own["amount"].sum() / weight[name], time - own["ds"].max()
        columns = [np.log(given), np.log(weight.loc[rows["unique_id"]].to_numpy(float))]
        # of one dose at hour 0 it is the time itself
        return [*columns, np.log1p(since)] if len(events) > events["unique_id"].nunique() else columns

    def quantiles(self, seen: pd.DataFrame, asked: pd.DataFrame, tables: Question) -> np.ndarray:
        """array[m 19]."""
        seen = self._usable(seen)
        fixed, random = self._design(asked, tables)
        fixed = self._scaled(fixed)
        mean, own, noise = fixed @ self.weights, random @ self.covariance @ random.T, self.noise * np.eye(len(asked))
        own = own + fixed @ self.of_weights @ fixed.T
        if len(seen):
            before, its = self._design(seen, tables)
            before = self._scaled(before)
            between = random @ self.covariance @ its.T + fixed @ self.of_weights @ before.T
            within = (
                its @ self.covariance @ its.T + before @ self.of_weights @ before.T + self.noise * np.eye(len(seen))
            )
            gain = np.linalg.solve(within, between.T).T
            mean = mean + gain @ (np.log(seen[self.channel].to_numpy(float)) - before @ self.weights)
            own = own - gain @ between.T
        deviation = np.sqrt(np.diag(own + noise))
        return np.exp(mean[:, None] + deviation[:, None] * norm.ppf(LEVELS))

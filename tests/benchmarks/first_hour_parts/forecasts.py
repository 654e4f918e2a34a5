"""Any forecaster of tsode, by name, on a task: its scores and CPU seconds."""

from __future__ import annotations

import ast
import time
import warnings
from typing import Any, NamedTuple

import numpy as np

import tsode
from tests.benchmarks.first_hour_parts.trials import KEYS, Question, Scored, Task, Trial, scores_of, summary
from tests.benchmarks.structural_parts.scores import LEVELS

__all__ = ["Model", "model_of", "run"]


class Model(NamedTuple):
    """A class of forecasters and what it is told beside the horizon, under the name it is asked for by."""

    label: str
    of: type
    settings: dict[str, Any]

    def new(self, horizon: Any) -> Any:
        return self.of(**{"horizon": horizon, "random_state": 0} | self.settings)


def model_of(label: str) -> Model:
    """Model of a text such as ``Auto``, ``DirectForecaster:regression=boosting`` or ``Auto:budget=5``.

    Settings are written as in Python, save that a bare word is a text.
    """
    name, _, rest = label.partition(":")
    call = ast.parse(f"settings({rest})", mode="eval").body
    assert isinstance(call, ast.Call)
    settings = {str(setting.arg): _value(setting.value) for setting in call.keywords}
    return Model(label, getattr(tsode, "AutoForecaster" if name == "Auto" else name), settings)


def _value(node: ast.expr) -> Any:
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def run(model: Model, task: Task) -> dict[str, Any]:
    """Row of the table of results."""
    scored: list[Scored] = []
    fits: list[float] = []
    asked, each = 0.0, {}
    for trial in task.trials():
        answers, fit_seconds, seconds = _answers(model, trial)
        scored.append(scores_of(trial, answers))
        each[trial.name] = float(np.nanmean(np.nanmean(scored[-1].crps, axis=0)))
        fits.append(fit_seconds)
        asked += seconds
        print(
            f"  {model.label} {task.name} {trial.name}: CRPS {each[trial.name]:.4g}, {fit_seconds:.1f} CPU-s",
            flush=True,
        )
    row = {"task": task.name, "model": model.label} | summary(task, scored)
    row |= {"fit_cpu_s": round(float(np.mean(fits)), 2), "most_fit_cpu_s": round(max(fits), 2), "n_fits": len(fits)}
    return row | {"predict_cpu_s": round(asked, 2), "each": each}


def _answers(model: Model, trial: Trial) -> tuple[list[np.ndarray], float, float]:
    """Quantiles (m c 19) of each question, CPU seconds of the fit and of all answers."""
    forecaster = model.new(trial.horizon)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        started = time.process_time()
        forecaster.fit(trial.train, **_read(model, events=trial.events, static=trial.static))
        fitted = time.process_time()
        answers = [_answer(model, forecaster, question) for question in trial.questions]
    return answers, fitted - started, time.process_time() - fitted


def _read(model: Model, **tables: Any) -> dict[str, Any]:
    """Of these tables those that there are and that the class reads."""
    reads = {"events": getattr(model.of, "reads_events", True), "static": getattr(model.of, "reads_covariates", True)}
    return {name: table for name, table in tables.items() if table is not None and reads.get(name, True)}


def _answer(model: Model, forecaster: Any, question: Question) -> np.ndarray:
    told = _read(model, context=question.context, events=question.events, static=question.static)
    rows = question.rows
    table = forecaster.predict_quantiles(rows, quantiles=list(LEVELS), **told).reset_index(drop=True)
    if not all((table[key].to_numpy() == rows[key].to_numpy()).all() for key in KEYS):
        raise ValueError(f"{model.label} answers other rows than those it was asked for")
    names = [name for name in question.ahead.columns if name not in KEYS]
    return np.stack([table[[f"{name}-q-{level:g}" for name in names]].to_numpy(float) for level in LEVELS], axis=-1)

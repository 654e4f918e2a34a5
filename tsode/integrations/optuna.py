"""Tuning of forecasters with optuna: ``pip install "tsode[tune]"``."""

from __future__ import annotations

import hashlib
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, MedianPruner
from optuna.samplers import TPESampler
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage
from optuna.trial import FixedTrial, FrozenTrial, TrialState
from sklearn.base import clone
from tqdm import tqdm

from tsode._registry import lookup
from tsode.backtest import end_cutoffs, score_table
from tsode.backtest.forecasts import reading_of
from tsode.backtest.scores import ERRORS
from tsode.errors import DataError, ParameterError, TsodeError, TsodeWarning
from tsode.frames.read import read_panel

__all__ = ["tune"]

Space = Mapping[str, BaseDistribution] | Callable[[Any], Mapping[str, Any]]
CHANGES_LOSS = {"balance", "horizon", "loss", "random_state", "scale", "validation_fraction"}
"""Parameters that change what the validation loss of an epoch is a loss of; nothing is pruned where they are tuned."""


def tune(
    estimator: Any,
    X: Any,
    space: Space,
    *,
    n_trials: int = 20,
    horizon: Any = None,
    cutoffs: Any = None,
    every: Any = None,
    metric: str = "crps",
    events: Any = None,
    static: Any = None,
    known: Any = None,
    storage: str | os.PathLike[str] | None = None,
    study_name: str = "tsode",
    pruner: BasePruner | None = None,
    timeout: float | None = None,
    refit: bool = True,
    random_state: int | None = None,
    verbose: int = 0,
) -> tuple[Any, optuna.Study]:
    """Search the parameters with which a forecaster does best on the ends of its series.

    Each trial is fitted on the rows of `X` up to the cutoffs and scored on those within one horizon after them, which
    are the same for all trials: scores compare whatever is tuned, the loss and the scaling too. The score is that of
    `tsode.backtest.score_table` relative to carrying the last value forward, averaged over channels: 0.8 is a fifth
    better than that. It is the best of many, so it flatters: keep rows out of `X` to test on.

    While a trial is fitted, its validation loss of each epoch is compared with those of earlier trials, and one that
    falls behind is stopped (pruned). That loss is on rows of fit, and must mean the same in all trials; so nothing is
    pruned where the space has a parameter that changes its meaning (`loss`, `scale`, `horizon`, ...).

    Parameters
    ----------
    estimator : forecaster
        Cloned, never changed. Also one that wraps a forecaster: its parameters are named ``forecaster__n_modes``. Its
        own callbacks are called, before pruning is thought of. If its ``random_state`` is None, all trials get that
        of the search.
    X : same kinds as in fit
    space : dict of parameter name to optuna distribution, or callable ``trial -> dict of parameters``
        A callable may suggest some parameters only where others ask for them, and make objects.
    n_trials : int
        Of the whole study: those of earlier calls and of other processes on the same file count, those that were pruned
        or failed too. A trial that was interrupted does not.
    horizon : duration or number, optional
        How far forecasts are scored. The default is the horizon of `estimator`, which then must not be "auto".
    cutoffs, every
        When to forecast from, see `tsode.backtest.backtest`; the default is one horizon before the end of each series.
    metric : {"crps", "mae", "mse", "rmse", "interval"}
    events, static, known
        See ``fit`` of the forecaster.
    storage : path, optional
        A file to keep the study in. If it is there the study goes on; processes that are given the same file work on
        the same study. Pass the same data and options each time.
    study_name : str
        Of the study in that file, which may hold several.
    pruner : optuna pruner, optional
        The default is the median rule after four trials and three epochs; ``optuna.pruners.NopPruner()`` never prunes.
    timeout : float, optional
        Seconds after which no further trial is begun.
    refit : bool
        Fit the best forecaster on all of `X`, else it is returned as it is before fit.
    random_state : int, optional
        With one process, the same seed gives the same trials, in one go or resumed.
    verbose : int
        1 = a progress line.

    Returns
    -------
    forecaster : of the class of `estimator`
        With the best parameters, fitted on all of `X`.
    study : optuna.Study
        ``study.best_params``, ``study.best_value``, ``study.trials_dataframe()``; a trial that failed has the reason in
        ``trial.user_attrs["error"]``.

    Raises
    ------
    DataError
        If the data cannot be read or cut, or no trial was completed.
    ParameterError
        If an argument cannot be used, a name in `space` is no parameter, or the file holds a study of another task.

    Notes
    -----
    Ctrl-C stops the search; what was found by then is in `storage`. A process that is killed leaves a trial that looks
    as if it ran: ``study.tell(number, state=optuna.trial.TrialState.FAIL)`` lets another one take its place.

    Examples
    --------
    >>> from optuna.distributions import FloatDistribution
    >>> from tsode import JumpODEForecaster
    >>> from tsode.datasets import load_theophylline
    >>> from tsode.integrations.optuna import tune
    >>> forecaster = JumpODEForecaster(horizon=6.0, n_modes=4, n_static=2, max_epochs=2)
    >>> space = {"learning_rate": FloatDistribution(1e-3, 1e-1, log=True)}
    >>> best, study = tune(forecaster, load_theophylline(), space, n_trials=2, random_state=0)
    >>> best.learning_rate == study.best_params["learning_rate"]
    True
    """
    if metric not in ERRORS:
        raise ParameterError(f"metric={metric!r} is not known: choose one of {', '.join(ERRORS)}.")
    estimator = clone(estimator)
    defaults = estimator.get_params()
    for name, value in defaults.items():
        if _last(name) == "random_state" and value is None:
            estimator.set_params(**{name: random_state})
    if not callable(space):
        for name in space:
            lookup(defaults, name, f"parameter of {type(estimator).__name__}")
    task = _task(estimator, X, horizon, cutoffs, every, metric)
    tables = {"events": events, "static": static, "known": known}
    tables = {name: table for name, table in tables.items() if table is not None}

    def score(trial: optuna.Trial) -> float:
        params = dict(space(trial)) if callable(space) else trial.params
        for name in params:
            lookup(defaults, name, f"parameter of {type(estimator).__name__}")
        tuned = clone(estimator).set_params(**params)
        if not CHANGES_LOSS.intersection(map(_last, params)):
            _prune_by_epoch(tuned, trial)
        table = score_table({"tuned": tuned}, X, **task, metrics=[metric], **tables)
        return float(table[f"{metric}-rel"].xs("tuned", level="model").mean())

    with _quiet(), tqdm(total=n_trials, disable=not verbose, desc="tune", unit="trial") as progress:
        study, lock = _open(storage, study_name, pruner or MedianPruner(n_startup_trials=4, n_warmup_steps=3))
        _check_same(study, _describe(estimator, X, task, metric), study_name)
        started = time.monotonic()
        while timeout is None or time.monotonic() - started < timeout:
            with lock():  # of several processes, only one at a time counts the trials and begins the next
                before = study.get_trials(deepcopy=False)
                n_begun = sum(map(_counts, before))
                progress.update(n_begun - progress.n)
                if n_begun >= n_trials:
                    break
                study.sampler = _sampler(random_state, len(before))
                trial = study.ask(None if callable(space) else dict(space))
            _run(study, trial, score)
            lowest = min((t.value for t in _completed(study) if t.value is not None), default=math.nan)
            progress.set_postfix(best=f"{lowest:.4f}")
    if not _completed(study):
        reasons = [trial.user_attrs["error"] for trial in study.trials if "error" in trial.user_attrs]
        raise DataError("No trial was completed." + (f" The first that failed: {reasons[0]}" if reasons else ""))
    params = dict(space(FixedTrial(study.best_params))) if callable(space) else study.best_params
    best = clone(estimator).set_params(**params)
    return best.fit(X, **tables) if refit else best, study


def _last(name: str) -> str:
    """Of the name of a nested parameter, the part that names it in its own estimator."""
    return name.rpartition("__")[2]


def _param(estimator: Any, name: str) -> Any:
    return next((value for key, value in estimator.get_params().items() if _last(key) == name), None)


def _task(estimator: Any, X: Any, horizon: Any, cutoffs: Any, every: Any, metric: str) -> dict[str, Any]:
    """Arguments of `score_table` that every trial shares."""
    horizon = _param(estimator, "horizon") if horizon is None else horizon
    if horizon is None or (isinstance(horizon, str) and horizon == "auto"):
        raise ParameterError("How far ahead are forecasts to be scored? Give horizon=, or a forecaster that has one.")
    if cutoffs is None and every is None:
        cutoffs = end_cutoffs(X, horizon, **reading_of(estimator))
    return {"horizon": horizon, "cutoffs": cutoffs, "every": every}


def _prune_by_epoch(estimator: Any, trial: optuna.Trial) -> None:
    """Report the validation loss of each epoch to the trial, after the forecaster's own callbacks, and end it if told.

    The exception leaves through fit, which sets nothing before its end: no forecaster is left half trained.
    """

    epochs = count(1)  # of all that a fit trains: one that chooses between models begins anew with the second

    def report(row: dict[str, float]) -> None:
        if "valid_loss" in row:
            trial.report(row["valid_loss"], next(epochs))
            if trial.should_prune():
                raise optuna.TrialPruned

    for name, value in estimator.get_params().items():
        if _last(name) == "callbacks":  # what is not trained by epochs has none
            estimator.set_params(**{name: [*(value or ()), report]})


def _run(study: optuna.Study, trial: optuna.Trial, score: Callable[[optuna.Trial], float]) -> None:
    """One trial, and what came of it."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "fit was interrupted", TsodeWarning)
            value = score(trial)
        if not math.isfinite(value):
            raise DataError(f"The score is {value}.")
        study.tell(trial, value)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except TsodeError as error:
        trial.set_user_attr("error", f"{type(error).__name__}: {error}")
        study.tell(trial, state=TrialState.FAIL)
    except BaseException as error:
        study.tell(trial, state=TrialState.FAIL)
        if isinstance(error, TsodeWarning) and "fit was interrupted" in str(error):
            raise KeyboardInterrupt from None
        raise


def _counts(trial: FrozenTrial) -> bool:
    """Whether a trial is one of those asked for: not if it was interrupted, that is, failed without an error."""
    return trial.state != TrialState.FAIL or "error" in trial.user_attrs


def _completed(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _sampler(random_state: int | None, number: int) -> TPESampler:
    """One for each trial, so that a study that is resumed, or shared, does not draw the same numbers again."""
    if random_state is None:
        return TPESampler()
    return TPESampler(seed=int(np.random.SeedSequence([random_state, number]).generate_state(1)[0]))


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of optuna's own log but errors, and all as it was afterwards."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _open(storage: Any, name: str, pruner: BasePruner) -> tuple[optuna.Study, Callable[[], Any]]:
    """The study, a new one or that in the file, and a lock between the processes on that file."""

    @contextmanager
    def lock() -> Iterator[None]:
        if storage is None:
            yield
            return
        between = JournalFileOpenLock(f"{os.fspath(storage)}.begin")
        between.acquire()
        try:
            yield
        finally:
            between.release()

    with lock():
        journal = None
        if storage is not None:
            path = os.fspath(storage)
            journal = JournalStorage(JournalFileBackend(path, JournalFileOpenLock(path)))
        return optuna.create_study(storage=journal, study_name=name, pruner=pruner, load_if_exists=True), lock


def _describe(estimator: Any, X: Any, task: dict[str, Any], metric: str) -> dict[str, str]:
    """Description of all that scores depend on beside the parameters that are tuned."""
    panel = read_panel(X, **reading_of(estimator))
    data = hashlib.sha256(repr((panel.ids, panel.channels)).encode())
    for times, values in zip(panel.times, panel.values):
        data.update(times.tobytes() + values.tobytes())
    when = {name: str(value) for name, value in task.items()}
    when["cutoffs"] = hashlib.sha256(when["cutoffs"].encode()).hexdigest()[:16]
    return when | {"forecaster": type(estimator).__name__, "metric": metric, "data": data.hexdigest()[:16]}


def _check_same(study: optuna.Study, task: dict[str, str], name: str) -> None:
    """A study holds scores that can be compared."""
    before = study.user_attrs.get("task")
    if before is None:
        study.set_user_attr("task", task)
    elif before != task:
        changed = [key for key in task if before.get(key) != task[key]]
        raise ParameterError(
            f"The study {name!r} in this file was made with another {' and '.join(changed)}, so its scores cannot be "
            "compared with these: give another study_name=, or another file."
        )

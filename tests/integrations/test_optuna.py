"""Tuning with optuna: what is scored, what is pruned, and studies that several processes share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from tests.registries import small
from tsode import JumpODEForecaster, LastValueForecaster, LinearSDEForecaster
from tsode.backtest import end_cutoffs, score_table
from tsode.conformal import ConformalForecaster
from tsode.errors import DataError, ParameterError, UnknownNameError
from tsode.integrations.optuna import tune
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")

RATE = {"learning_rate": FloatDistribution(1e-3, 1e-1, log=True)}


def made(**params) -> JumpODEForecaster:
    return small(JumpODEForecaster, **{"horizon": "16h", "n_members": 1, "random_state": None} | params)


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.trials]


@pytest.mark.slow
def test_the_best_is_that_with_the_lowest_score_on_the_ends_of_the_series_and_is_fitted_on_all():
    frame = example_panel(4)
    estimator = made()
    best, study = tune(estimator, frame, RATE, n_trials=3, random_state=0)
    values = [trial.value for trial in study.trials]
    assert study.best_value == min(values) < max(values)
    again = made(random_state=0, **study.best_params)
    table = score_table({"x": again}, frame, cutoffs=end_cutoffs(frame, "16h"), horizon="16h", metrics=["crps"])
    assert study.best_value == table["crps-rel"].xs("x", level="model").mean()
    pd.testing.assert_frame_equal(best.predict(), again.fit(frame).predict())
    assert not hasattr(estimator, "module_")
    assert estimator.random_state is None


@pytest.mark.slow
def test_the_same_seed_gives_the_same_trials_in_one_go_or_resumed_from_a_file(tmp_path):
    frame, how = example_panel(3), {"refit": False, "random_state": 1}
    whole = tune(made(), frame, RATE, n_trials=4, **how)[1]
    file = tmp_path / "study.log"
    assert len(tune(made(), frame, RATE, n_trials=2, storage=file, **how)[1].trials) == 2
    resumed = tune(made(), frame, RATE, n_trials=4, storage=str(file), **how)[1]
    assert [(t.params, t.value) for t in resumed.trials] == [(t.params, t.value) for t in whole.trials]
    done = tune(made(), frame, RATE, n_trials=4, storage=file, **how)[1]
    assert len(done.trials) == 4
    other = tune(made(), frame, RATE, n_trials=4, refit=False, random_state=2)[1]
    assert all(a.params != b.params for a, b in zip(whole.trials, other.trials))


WORKER = """
import sys
from optuna.distributions import FloatDistribution
from tests.integrations.test_optuna import RATE, made
from tsode.integrations.optuna import tune
from tsode.testing import example_panel
tune(made(), example_panel(3), RATE, n_trials=7, storage=sys.argv[1], refit=False, random_state=0)
"""


@pytest.mark.slow
def test_two_processes_on_one_file_do_exactly_the_trials_asked_for(tmp_path):
    file = str(tmp_path / "study.log")
    root = str(Path(__file__).parents[2])
    env = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, file], env=env, cwd=root) for _ in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    study = tune(made(), example_panel(3), RATE, n_trials=7, storage=file, refit=False)[1]
    assert states(study) == ["COMPLETE"] * 7
    assert len({trial.params["learning_rate"] for trial in study.trials}) == 7
    overlap = [a.datetime_complete > b.datetime_start for a, b in zip(study.trials, study.trials[1:])]
    assert any(overlap)  # they did work at the same time
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.log"]


class Threshold(optuna.pruners.BasePruner):
    """Prunes every trial after the first at its second epoch."""

    def prune(self, study, trial):
        return trial.number > 0 and trial.last_step >= 2


@pytest.mark.slow
def test_a_trial_that_falls_behind_is_stopped_and_recorded_as_pruned_and_own_callbacks_run():
    rows = []
    estimator = made(max_epochs=4, early_stopping=False, callbacks=[lambda row: rows.append(row["epoch"])])
    best, study = tune(estimator, example_panel(3), RATE, n_trials=3, pruner=Threshold(), random_state=0)
    assert states(study) == ["COMPLETE", "PRUNED", "PRUNED"]
    assert study.best_trial.number == 0
    assert rows == [1, 2, 3, 4, 1, 2, 1, 2, 1, 2, 3, 4]  # the last four: the best, fitted on all
    reported = study.trials[0].intermediate_values
    assert list(reported) == [1, 2, 3, 4]
    assert np.isfinite(list(reported.values())).all()
    assert best.callbacks == estimator.callbacks


def test_what_is_reported_is_the_validation_loss_of_the_history():
    frame = example_panel(3)
    study = tune(made(max_epochs=3), frame, RATE, n_trials=1, random_state=0, refit=False)[1]
    cutoffs = {key: times[0] for key, times in end_cutoffs(frame, "16h").items()}
    past = frame[frame["ds"] <= frame["unique_id"].map(cutoffs)]
    again = made(max_epochs=3, random_state=0, **study.best_params).fit(past)
    assert list(study.trials[0].intermediate_values.values()) == again.history_["valid_loss"].tolist()


@pytest.mark.parametrize("space", [{"loss": CategoricalDistribution(["crps", "mse"])}, RATE])
def test_nothing_is_pruned_where_losses_do_not_compare(space):
    estimator = made(max_epochs=3)
    study = tune(estimator, example_panel(3), space, n_trials=2, pruner=Threshold(), refit=False, random_state=0)[1]
    assert states(study) == (["COMPLETE", "COMPLETE"] if "loss" in space else ["COMPLETE", "PRUNED"])


def test_settings_that_fail_are_recorded_with_the_reason_and_the_study_goes_on():
    space = {"n_modes": CategoricalDistribution([-1, 4])}
    study = tune(made(), example_panel(3), space, n_trials=6, refit=False, random_state=0)[1]
    assert set(states(study)) == {"COMPLETE", "FAIL"}
    for trial in study.trials:
        assert (trial.state == TrialState.FAIL) == (trial.params["n_modes"] == -1)
        assert ("n_modes must be a whole number" in trial.user_attrs.get("error", "")) == (
            trial.params["n_modes"] == -1
        )
    with pytest.raises(DataError, match=r"No trial was completed\. The first that failed: ParameterError: n_modes"):
        tune(made(), example_panel(3), {"n_modes": CategoricalDistribution([-1])}, n_trials=2)


def test_an_interrupted_trial_ends_the_search_and_is_done_anew_later(tmp_path):
    frame, how = example_panel(3), {"storage": tmp_path / "s.log", "refit": False, "random_state": 0}

    def interrupt(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(made(callbacks=[interrupt]), frame, RATE, n_trials=2, **how)
    study = tune(made(), frame, RATE, n_trials=2, **how)[1]
    assert states(study) == ["FAIL", "COMPLETE", "COMPLETE"]


@pytest.mark.slow
def test_a_callable_space_may_suggest_some_parameters_only_for_others_and_is_asked_for_the_best_again():
    def space(trial):
        params = {"loss": trial.suggest_categorical("score", ["crps", "nll"])}
        if params["loss"] == "nll":
            params["likelihood"] = trial.suggest_categorical("family", ["normal", "student_t"])
        return params

    best, study = tune(made(), example_panel(3), space, n_trials=5, random_state=3)
    assert {t.params["score"] for t in study.trials} == {"crps", "nll"}
    assert best.loss == study.best_params["score"]
    assert best.likelihood == study.best_params.get("family", "normal_mixture")


@pytest.mark.slow
def test_forecasters_without_epochs_and_such_that_wrap_another_are_tuned_too():
    frame = example_panel(3)
    flat = {"scale": CategoricalDistribution(["standard", "robust"])}
    study = tune(LinearSDEForecaster(horizon="16h", max_epochs=1), frame, flat, n_trials=1, refit=False)[1]
    assert states(study) == ["COMPLETE"]
    last = tune(LastValueForecaster(horizon="16h"), frame, {}, n_trials=1, refit=False)[1]
    assert last.best_value == 1.0  # it is what scores are relative to
    wrapped = ConformalForecaster(made(max_epochs=2), n_bins=1)
    nested = {"forecaster__n_modes": IntDistribution(2, 4), "share": FloatDistribution(0.3, 0.5)}
    best, study = tune(wrapped, frame, nested, n_trials=2, metric="mae", random_state=0)
    assert best.forecaster.n_modes == study.best_params["forecaster__n_modes"]
    assert list(study.trials[0].intermediate_values) == [1, 2]


@pytest.mark.slow
def test_any_container_and_given_cutoffs_are_scored_alike():
    frame = example_panel(3)
    how = {"n_trials": 2, "random_state": 0, "refit": False, "cutoffs": "2024-03-02", "metric": "rmse"}
    long = tune(made(), frame, RATE, **how)[1]
    indexed = tune(made(), frame.set_index(["unique_id", "ds"]), RATE, **how)[1]
    assert [t.value for t in long.trials] == [t.value for t in indexed.trials]


@pytest.mark.slow
def test_doses_reach_the_trials_and_the_last_fit():
    frame = example_panel(3)
    doses = pd.DataFrame({"unique_id": ["s0", "s1", "s2"], "ds": pd.Timestamp("2024-03-01 05:00"), "amount": 1.0})
    best, told = tune(made(), frame, RATE, n_trials=1, events=doses, random_state=0)
    untold = tune(made(), frame, RATE, n_trials=1, random_state=0, refit=False)[1]
    assert told.best_value != untold.best_value
    assert len(best.what_if({"none": doses.iloc[:0], "given": doses}, horizon=["1h"], n_samples=2))


def test_a_file_holds_studies_of_one_task_each(tmp_path):
    frame, how = example_panel(3), {"storage": tmp_path / "s.log", "n_trials": 1, "refit": False}
    tune(made(), frame, RATE, **how)
    with pytest.raises(ParameterError, match="was made with another metric, so its scores cannot be compared"):
        tune(made(), frame, RATE, metric="mae", **how)
    with pytest.raises(ParameterError, match="was made with another data"):
        tune(made(), frame.assign(a=frame["a"] + 1.0), RATE, **how)
    assert len(tune(made(), frame, RATE, metric="mae", study_name="mae", **how)[1].trials) == 1


@pytest.mark.slow
def test_nothing_is_said_unless_asked_and_the_log_of_optuna_is_as_it_was(capfd):
    before = optuna.logging.get_verbosity()
    tune(made(), example_panel(3), RATE, n_trials=2, refit=False)
    assert capfd.readouterr() == ("", "")
    tune(made(), example_panel(3), RATE, n_trials=2, refit=False, verbose=1)
    said = capfd.readouterr()
    assert "tune: 100%" in said.err
    assert "2/2" in said.err
    assert "best=" in said.err
    assert not said.out
    assert optuna.logging.get_verbosity() == before


def test_no_trial_is_begun_after_the_time_is_up():
    with pytest.raises(DataError, match="No trial was completed"):
        tune(made(), example_panel(3), RATE, n_trials=2, timeout=0.0)


@pytest.mark.parametrize(
    ("params", "how", "error", "message"),
    [
        ({}, {"space": {"n_mods": IntDistribution(2, 4)}}, UnknownNameError, "Did you mean 'n_modes'"),
        ({}, {"space": lambda trial: {"n_mods": 3}}, DataError, "Did you mean 'n_modes'"),
        ({"horizon": "auto"}, {}, ParameterError, "Give horizon=, or a forecaster that has one"),
        ({}, {"metric": "r2"}, ParameterError, "metric='r2' is not known: choose one of crps"),
        ({}, {"horizon": "900h"}, DataError, "No series is longer than horizon='900h'"),
    ],
)
def test_what_cannot_be_tuned_is_refused(params, how, error, message):
    how = {"space": RATE, "n_trials": 1} | how
    with pytest.raises(error, match=message):
        tune(made(**params), example_panel(3), **how)

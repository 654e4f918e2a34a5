"""Tasks of the first-hour benchmark: what is asked is nowhere in what is fitted or given."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.first_hour_parts.tasks import TASKS
from tests.benchmarks.first_hour_parts.trials import Scored, Task, scores_of, summary

BUNDLED = [name for name, task in TASKS.items() if task.missing() is None]


@pytest.mark.parametrize("name", BUNDLED)
def test_what_is_asked_comes_after_all_that_is_given_of_its_series(name):
    for trial in TASKS[name].trials():
        fitted = trial.train.groupby("unique_id")["ds"].max()
        for question in trial.questions:
            if question.context is None:
                given = fitted
            else:
                given = question.context.groupby("unique_id")["ds"].max()
                is_same = question.ahead["unique_id"].isin(fitted.index)
                same = question.ahead[is_same]
                assert (same["ds"] > same["unique_id"].map(fitted)).all()
            assert set(question.ahead["unique_id"]) <= set(given.index)
            assert (question.ahead["ds"] > question.ahead["unique_id"].map(given)).all()
            assert list(question.rows.columns) == ["unique_id", "ds"]
            assert list(question.ahead.columns) == list(trial.train.columns)


def test_scores_scale_by_channel_and_count_only_what_is_asked():
    (trial,) = TASKS["pbc" if "pbc" in BUNDLED else "physionet"].trials()
    (question,) = trial.questions
    median = np.nanmedian(question.truth, axis=0)
    answer = np.broadcast_to(median[:, None], (*question.truth.shape, 19))
    task = Task("a", lambda: [trial], lambda: None)
    row = summary(task, [scores_of(trial, [answer])])
    error = np.nanmean(np.abs(question.truth - median), axis=0) / np.nanstd(trial.train[trial.channels], axis=0)
    assert row["crps"] == pytest.approx(error.mean())  # of a point, CRPS is the absolute error
    on_it = (question.truth == median)[~np.isnan(question.truth)].mean()
    assert row["hold_80"] == pytest.approx(100.0 * on_it)


def test_textbook_series_count_the_same_in_a_geometric_mean():
    task = Task("a", list, lambda: None, is_geometric=True)
    long, short = (Scored(np.full((n, 1), x), np.ones((n, 1)), np.ones((n, 1))) for n, x in ((100, 4.0), (1, 1.0)))
    assert summary(task, [long, short])["crps"] == pytest.approx(2.0)


def test_peers_need_no_tsode():
    code = "import sys; sys.modules['tsode'] = None; import tests.benchmarks.peers_first_hour"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[1])

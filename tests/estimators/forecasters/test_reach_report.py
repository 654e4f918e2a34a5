"""Reports of questions that leave what was learned: named where they do, silent where they do not."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from tsode import JumpODEForecaster, LatentODEForecaster
from tsode.errors import TsodeWarning

SMALL = {"max_epochs": 1, "horizon": 5.0, "random_state": 0}


def _panel(n: int = 12, seed: int = 0) -> pd.DataFrame:
    rng, parts = np.random.default_rng(seed), []
    for k in range(n):
        times = np.sort(rng.uniform(0.0, 20.0, 40))
        values = np.sin(times + rng.uniform(0.0, 6.0)) + 0.1 * rng.standard_normal(40)
        parts.append(pd.DataFrame({"unique_id": f"s{k}", "ds": times, "y": values}))
    return pd.concat(parts, ignore_index=True)


FRAME = _panel()
LAST = {key: rows.index[-1] for key, rows in FRAME.groupby("unique_id")}
MODELS: dict[str, Any] = {
    "jump": JumpODEForecaster(n_members=1, expert=None, n_modes=4, n_static=2, n_hidden=8, **SMALL),
    "latent": LatentODEForecaster(**SMALL),
}


@functools.cache
def _fitted(model: str) -> Any:
    return clone(MODELS[model]).fit(FRAME)


def _changed(column: str, row: object, by: float) -> pd.DataFrame:
    frame = FRAME.copy()
    frame.loc[row, column] += by
    return frame


def _drifted() -> pd.DataFrame:
    frame = FRAME.copy()
    rows = frame["unique_id"] == "s3"
    frame.loc[rows, "y"] += np.linspace(0.0, 4.0, int(rows.sum()))
    return frame


CASES = {
    "implausible": (_changed("y", LAST["s3"], 700.0), 1.0),
    "drifted": (_drifted(), 1.0),
    "gap": (_changed("ds", LAST["s3"], 100.0), 1.0),
    "far": (FRAME[FRAME["unique_id"] == "s3"], 50.0),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", CASES)
def test_a_question_that_leaves_what_was_learned_is_named_with_a_remedy(model: str, kind: str) -> None:
    context, horizon = CASES[kind]
    with pytest.warns(TsodeWarning, match="series 's3'") as caught:
        _fitted(model).predict(horizon=[horizon], context=context)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    status = _fitted(model).forecast_status(horizon=[horizon], context=context).set_index("unique_id")
    assert status.loc["s3", "status"] == kind
    assert status.loc["s3", "remedy"] in str(caught[0].message)
    assert (status["status"].drop("s3") == "ok").all()


@pytest.mark.parametrize("model", MODELS)
def test_other_series_of_the_same_law_are_told_nothing(model: str) -> None:
    others = _panel(100, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _fitted(model).predict(horizon=5.0, context=others)
        _fitted(model).sample(horizon=[1.0, 5.0], context=others, n_samples=2, random_state=0)
    status = _fitted(model).forecast_status(horizon=5.0, context=others)
    assert (status["status"] == "ok").all()
    assert status["lead"].max() == pytest.approx(1.0)


def test_an_implausible_value_changes_a_forecast_no_more_than_the_end_of_the_range_would() -> None:
    fitted = _fitted("jump")
    context = _changed("y", LAST["s3"], 700.0)
    with pytest.warns(TsodeWarning, match="taken for the end of that range"):
        wild = fitted.predict(horizon=[1.0], context=context)
    assert FRAME["y"].min() <= wild["y"].min()
    assert wild["y"].max() <= FRAME["y"].max()


def test_an_update_with_an_implausible_row_is_forecast_as_the_whole_history() -> None:
    frame = _changed("y", LAST["s3"], 700.0)
    after = frame.loc[[LAST["s3"]]]
    fitted = clone(MODELS["jump"]).fit(FRAME.drop(index=LAST["s3"]))
    with pytest.warns(TsodeWarning):
        whole = fitted.predict(horizon=[1.0], context=frame)
    with pytest.warns(TsodeWarning):
        resumed = fitted.update(after).predict(horizon=[1.0])
    assert np.allclose(resumed["y"], whole["y"], rtol=1e-5)


def test_samples_beyond_the_horizon_are_named_too() -> None:
    with pytest.warns(TsodeWarning, match="longer horizon="):
        _fitted("jump").sample(horizon=[50.0], n_samples=2, random_state=0)

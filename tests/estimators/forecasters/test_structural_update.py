"""Structural components in a stream: updates and forecasts go on from the state of long histories."""

from __future__ import annotations

import copy
import pickle
import time

import numpy as np
import pandas as pd
import pytest

import tsode.models.structural.model as module_of_model
from tsode import LinearSDEForecaster, part
from tsode.estimators.forecasters import history
from tsode.estimators.forecasters import pieces as module_of_pieces

ENDS = [2.0, 2.3, 9.0]


def _frame() -> pd.DataFrame:
    """Three series of two channels, some values of which are missing and some stand out."""
    rng = np.random.default_rng(0)
    parts = []
    for key, n in (("a", 60), ("b", 45), ("c", 50)):
        times = np.sort(rng.uniform(0.0, 1.0, n))
        values = np.sin(9.0 * times)[:, None] + 0.3 * rng.normal(size=(n, 2))
        values[rng.random((n, 2)) < 0.2] = np.nan
        values[rng.random((n, 2)) < 0.05] = 9.0
        values[n - 6 :, 0] -= 9.0
        parts.append(pd.DataFrame({"unique_id": key, "ds": times, "x": values[:, 0], "y": values[:, 1]}))
    return pd.concat(parts, ignore_index=True)


def _known() -> pd.DataFrame:
    grid = np.linspace(0.0, 10.0, 300)
    return pd.concat([pd.DataFrame({"unique_id": key, "ds": grid, "u": np.sin(5.0 * grid)}) for key in "abc"])


@pytest.fixture(scope="module")
def fitted() -> LinearSDEForecaster:
    """On what comes before 0.6."""
    frame = _frame()
    early = frame[frame["ds"] < 0.6].reset_index(drop=True)
    return LinearSDEForecaster(components=["level", "ou"], robust=True, random_state=0).fit(early, known=_known())


@pytest.fixture(autouse=True)
def _all_are_long(monkeypatch) -> None:
    monkeypatch.setattr(history, "LONG", 3)


@pytest.fixture
def n_filtered(monkeypatch) -> list[int]:
    """Events that filters run over from now on, but for the empty one at which a state stands."""
    seen: list[int] = []
    plain = module_of_model.StructuralModel._beliefs

    def run(model, fit, batch, c, rows, n, begin=None):
        seen.append(len(rows) * (n - (begin is not None)))
        return plain(model, fit, batch, c, rows, n, begin)

    monkeypatch.setattr(module_of_model.StructuralModel, "_beliefs", run)
    return seen


def _quantiles(forecaster: LinearSDEForecaster, **how) -> pd.DataFrame:
    return forecaster.predict_quantiles(times=ENDS, **how).set_index(["unique_id", "ds"]).sort_index()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_forecasts_after_any_cut_of_the_stream_are_those_from_the_whole_history(fitted, seed) -> None:
    frame, rng = _frame(), np.random.default_rng(seed)
    late = frame[frame["ds"] >= 0.6]
    order = late["ds"] + 0.02 * rng.exponential(size=len(late)) * (rng.random(len(late)) < 0.2)  # some come late
    late = late.loc[order.sort_values().index]
    channels = [late.assign(y=np.nan), late.assign(x=np.nan)]
    parts = [piece for k in range(0, len(late), 11) for piece in (part.iloc[k : k + 11] for part in channels)]
    forecaster = copy.deepcopy(fitted)
    for rows in parts:
        forecaster.update(rows.dropna(subset=["x", "y"], how="all"))
    expected = _quantiles(fitted, context=frame, known=_known())
    pd.testing.assert_frame_equal(_quantiles(forecaster), expected, rtol=1e-9, atol=1e-9)
    again = pickle.loads(pickle.dumps(forecaster))
    pd.testing.assert_frame_equal(again.predict(times=ENDS), forecaster.predict(times=ENDS))


@pytest.mark.slow
def test_the_work_of_a_new_row_does_not_grow_with_the_history(fitted, n_filtered) -> None:
    forecaster = fitted.with_history(_frame()[["unique_id", "ds", "x"]].assign(y=np.nan))
    forecaster.update(pd.DataFrame({"unique_id": ["a"], "ds": [1.5], "x": [0.0], "y": [0.0]}))
    n_filtered.clear()
    for k in range(4):
        forecaster.update(pd.DataFrame({"unique_id": ["a"], "ds": [2.0 + k], "x": [0.1 * k], "y": [np.nan]}))
        forecaster.predict(times={"a": [k + 2.5]})
    # of each channel, each row once when the state moves past it, and once, while it is the last, at its forecast
    assert sum(n_filtered) == 2 * 2 * 4


def test_a_fit_leaves_the_state_of_long_histories_alone(n_filtered, monkeypatch) -> None:
    monkeypatch.setattr(history, "LONG", 45)
    frame = _frame()
    forecaster = LinearSDEForecaster(components=["level"], random_state=0).fit(frame)
    n_filtered.clear()
    forecaster.predict(times={"a": [2.0]})
    assert sum(n_filtered) == 2
    forecaster.predict(times={"b": [2.0]})
    assert sum(n_filtered) > 80


def test_states_are_kept_while_there_is_room(fitted, monkeypatch) -> None:
    for room, expected in ((3, "abc"), (2, "ac"), (0, "")):
        monkeypatch.setattr(history, "MOST_KEPT", room * fitted.module_.state_width)
        forecaster = fitted.with_history(_frame()).update(
            pd.DataFrame({"unique_id": ["a"], "ds": [1.5], "x": [0.0], "y": [0.0]})
        )
        assert [key for key, kept in forecaster._checkpoints.plain().items() if kept is not None] == list(expected)


@pytest.mark.slow
def test_what_asks_for_later_events_is_given_all_of_a_long_history(fitted, monkeypatch) -> None:
    frame = _frame()
    asked = {"times": [0.3, 0.31, 0.7, 2.0], "context": frame}
    one = fitted.impute(frame, level=80), fitted.decompose(**asked)
    monkeypatch.setattr(module_of_pieces, "STEPS_AT_ONCE", 10)
    other = fitted.impute(frame, level=80), fitted.decompose(**asked)
    for expected, actual in zip(one, other):
        pd.testing.assert_frame_equal(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_parameters_of_each_series_follow_all_of_its_history() -> None:
    frame = _frame()
    forecaster = LinearSDEForecaster(components=["level"], per_series=True, random_state=0)
    forecaster.fit(frame[frame["ds"] < 0.6])
    expected = forecaster.predict(times=ENDS, context=frame).set_index(["unique_id", "ds"])
    forecaster.update(frame[frame["ds"] >= 0.6])
    pd.testing.assert_frame_equal(forecaster.predict(times=ENDS).set_index(["unique_id", "ds"]), expected, rtol=1e-9)


@pytest.mark.slow
def test_a_forecast_after_an_update_takes_no_longer_after_thirty_thousand_rows() -> None:
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0.0, 30.0, 30_000))
    data = pd.Series(np.sin(times) + 0.3 * rng.normal(size=len(times)), index=times, name="y")
    first = LinearSDEForecaster(components=["slope", "ou"], random_state=0).fit(data.iloc[:300])
    took = []
    for n in (2000, 30_000):
        forecaster = first.with_history(data.iloc[:n]).update(pd.Series([0.0], index=[40.0], name="y"))
        start = time.process_time()
        for k in range(5):
            forecaster.update(pd.Series([0.0], index=[41.0 + k], name="y")).predict(times=[50.0])
        took.append(time.process_time() - start)
    assert took[1] < 2.5 * took[0]  # it was fifteen times as long when it ran over the history


@pytest.mark.slow
def test_a_refit_keeps_components_and_weights_and_forecasts_as_a_fit_of_all() -> None:
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0.0, 8.0, 130))
    data = pd.Series(0.5 * times + np.sin(2.0 * np.pi * times) + 0.2 * rng.normal(size=130), index=times, name="y")
    names = ["slope", "ou", part("season", period=1.0, n_harmonics=1)]
    early = LinearSDEForecaster(components=names, random_state=0).fit(data.iloc[:100])
    grown = copy.deepcopy(early).update(data.iloc[100:], refit=True)
    again = copy.deepcopy(early).set_params(warm_start=True).fit(data)
    whole = LinearSDEForecaster(components=names, random_state=0).fit(data)
    ahead = [8.1, 8.6, 9.2]
    bands = whole.predict_interval(times=ahead, level=68)
    for one in (grown, again):
        assert one.weights_ == early.weights_
        assert (one.predict(times=ahead) - whole.predict(times=ahead)).abs().max() < 0.2 * (
            bands["y-hi-68"] - bands["y-lo-68"]
        ).min()
        own = one.summary()["median"] / early.summary()["median"]
        assert not np.allclose(own, 1.0, rtol=1e-6)  # learned, not kept

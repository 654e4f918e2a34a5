"""Tables that speak of series: their ids meet those of the data, or an error names both."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsode import JumpODEForecaster, LinearSDEForecaster, PointProcessForecaster, Trigger, find_crossings, solve
from tsode.backtest import backtest
from tsode.conformal import ConformalForecaster
from tsode.errors import DataError

pytestmark = pytest.mark.usefixtures("short_epochs")

Y = pd.DataFrame({"unique_id": np.repeat([1, 2], 12), "ds": np.tile(np.arange(12.0), 2), "y": np.sin(np.arange(24.0))})
DOSES = pd.DataFrame({"unique_id": [1, 2], "ds": 6.0, "amount": 5.0})
STATIC = pd.DataFrame({"unique_id": [1, 2], "age": [30.0, 50.0]})
KNOWN = pd.DataFrame({"unique_id": [1, 1, 2, 2], "ds": [0.0, 30.0] * 2, "rate": [0.0, 1.0, 1.0, 0.0]})
TABLES = {"events": DOSES, "static": STATIC, "known": KNOWN}
BOTH = r"'1' \(str\).* Did you mean 1\? .*\(int\)\. Give the ids one type in both: `\.astype\(int\)`"


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(unique_id=table["unique_id"].astype(str))


@pytest.fixture(scope="module")
def jump() -> JumpODEForecaster:
    small = JumpODEForecaster(n_modes=2, n_static=2, n_members=1, max_epochs=1, horizon=3.0, random_state=0)
    return small.fit(Y, **TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_with_ids_of_another_type_is_refused_wherever_it_is_given(jump, name):
    other = {name: as_text(TABLES[name])}
    questions = {
        "fit": lambda: LinearSDEForecaster(max_epochs=1).fit(Y, **{**({} if name != "events" else TABLES), **other}),
        "predict": lambda: jump.predict(horizon=[1.0], **other),
        "predict_quantiles": lambda: jump.predict_quantiles(horizon=[1.0], **other),
        "sample": lambda: jump.sample(horizon=[1.0], **other),
        "impute": lambda: jump.impute(Y, **other),
        "score": lambda: jump.score(Y, **other),
        "update": lambda: jump.update(Y.assign(ds=Y["ds"] + 12.0), **other),
        "backtest": lambda: backtest(jump, Y, cutoffs=[9.0], horizon=2.0, **{**TABLES, **other}),
        "conformal": lambda: ConformalForecaster(jump).fit(Y, **{**TABLES, **other}),
    }
    for question in questions.values():
        with pytest.raises(DataError, match=BOTH):
            question()
    if name == "events":
        with pytest.raises(DataError, match=BOTH):
            jump.what_if({"as given": None, "none": as_text(DOSES)}, horizon=[1.0])


def test_histories_and_questions_with_ids_of_another_type_are_refused(jump):
    new = as_text(Y)
    questions = [
        lambda: jump.predict(horizon=[1.0], context=new),
        lambda: jump.predict(as_text(Y[["unique_id", "ds"]])),
        lambda: jump.predict(times={"1": [13.0]}),
        lambda: jump.score(new),
        lambda: jump.score(Y, context=new),
        lambda: jump.impute(new),
        lambda: jump.update(new.assign(ds=new["ds"] + 12.0)),
        lambda: jump.with_history(new),
        lambda: jump.fit(Y, **TABLES, validation=new),
        lambda: backtest(jump, Y, cutoffs={"1": 9.0}, horizon=2.0),
        lambda: backtest(jump, Y[Y["ds"] > 5.0], context=new[new["ds"] < 6.0], cutoffs=[9.0], horizon=2.0, **TABLES),
    ]
    for question in questions:
        with pytest.raises(DataError, match=BOTH):
            question()


def test_events_of_series_that_are_not_asked_about_may_stay_in_their_table(jump):
    more = pd.concat([DOSES, DOSES.assign(unique_id=[3, 4])])
    assert jump.predict(horizon=[1.0], events=more).equals(jump.predict(horizon=[1.0]))
    of_two = Y[Y["unique_id"] == 2]
    assert jump.predict(horizon=[1.0], context=of_two, events=DOSES[:1]).shape == (1, 3)


def test_one_series_without_an_id_says_so(jump):
    alone = Y[Y["unique_id"] == 1].drop(columns="unique_id")
    with pytest.raises(DataError, match=r"series 1 \(int\).* one series without ids: leave the ids out of events="):
        LinearSDEForecaster(max_epochs=1).fit(alone, events=DOSES)
    with pytest.raises(DataError, match=r"one series without ids: leave the ids out of known="):
        JumpODEForecaster(max_epochs=1).fit(alone, known=KNOWN)


def test_a_row_of_constants_that_names_another_series_is_not_taken_for_it():
    text = Y.assign(unique_id=Y["unique_id"].map({1: "a", 2: "b"}))
    constants = pd.DataFrame({"age": [30.0, 50.0]}, index=["a", "b"])
    fitted = JumpODEForecaster(n_modes=2, n_static=2, n_members=1, max_epochs=1, random_state=0)
    fitted.fit(text, static=constants)
    new = text[text["unique_id"] == "a"].assign(unique_id="c")
    with pytest.raises(DataError, match=r"row for series 'x'"):
        fitted.predict(horizon=[1.0], context=new, static=constants[:1].set_axis(["x"]))
    assert len(fitted.predict(horizon=[1.0], context=new, static={"age": 30.0})) == 1
    with pytest.raises(DataError, match=r"static= has no column 'unique_id'. Did you mean 'Unique_Id'"):
        fitted.predict(horizon=[1.0], static=STATIC.rename(columns={"unique_id": "Unique_Id"}))
    with pytest.raises(DataError, match=r"no id at row 1"):
        fitted.predict(horizon=[1.0], static=constants.set_axis(["a", None]))


@pytest.mark.parametrize("kind", ["times", "X", "no rows", "rows without values", "what_if", "intervals"])
def test_a_new_series_with_a_dose_and_no_value_yet_is_forecast(jump, kind):
    dose = pd.DataFrame({"unique_id": [3], "ds": [0.0], "amount": [5.0]})
    tables = {
        "static": pd.DataFrame({"unique_id": [3], "age": [40.0]}),
        "known": pd.DataFrame({"unique_id": [3, 3], "ds": [0.0, 30.0], "rate": [0.0, 1.0]}),
    }
    empty = pd.DataFrame({"unique_id": [3], "ds": [0.0], "y": [np.nan]})
    want = jump.predict(times={3: [1.0, 2.0]}, context=empty, events=dose, **tables)["y"].to_numpy()
    none = jump.predict(times={3: [1.0, 2.0]}, context=empty, events=dose.assign(ds=90.0), **tables)["y"].to_numpy()
    assert np.isfinite(want).all()
    assert (want != none).all()
    questions = {
        "times": lambda: jump.predict(times={3: [1.0, 2.0]}, events=dose, **tables),
        "X": lambda: jump.predict(pd.DataFrame({"unique_id": 3, "ds": [1.0, 2.0]}), events=dose, **tables),
        "no rows": lambda: jump.predict(times={3: [1.0, 2.0]}, context=Y[:0], events=dose, **tables),
        "rows without values": lambda: jump.predict(horizon=[1.0, 2.0], context=empty, events=dose, **tables),
        "what_if": lambda: jump.what_if({"dose": dose}, times={3: [1.0, 2.0]}, **tables),
        "intervals": lambda: jump.predict_interval(times={3: [1.0, 2.0]}, events=pd.concat([DOSES, dose]), **tables),
    }
    np.testing.assert_allclose(questions[kind]()["y"], want, rtol=1e-6)
    with pytest.raises(DataError, match=r"no history of series '3' \(str\). Did you mean 3"):
        jump.predict(times={"3": [1.0]}, events=dose, **tables)


def test_known_dynamics_refuse_states_starts_and_events_of_another_type():
    field = lambda t, z: -z  # noqa: E731
    asked = pd.DataFrame({"unique_id": [1, 2], "ds": 3.0})
    for arguments in (
        {"z0": {"1": [1.0], "2": [2.0]}, "times": asked},
        {"z0": [1.0], "times": asked, "t0": {"1": 0.0, "2": 0.0}},
        {"z0": [1.0], "times": asked, "events": pd.DataFrame({"unique_id": ["1", 2], "ds": 1.0, "amount": 1.0})},
        {"z0": {1: [1.0], 2: [1.0]}, "times": [3.0], "events": as_text(DOSES)},
    ):
        with pytest.raises(DataError, match=r"Did you mean '?1'?\? .*Give the ids one type in both"):
            solve(field, **arguments)
    rise = Trigger(lambda t, z: z[:, 0] - 0.5, direction=-1)
    with pytest.raises(DataError, match="Give the ids one type in both"):
        find_crossings(field, {1: [1.0], 2: [1.0]}, 3.0, [rise], events=as_text(DOSES))


def test_windows_of_event_streams_are_those_of_the_streams():
    events = pd.DataFrame({"unique_id": [1, 1, 2, 2], "ds": [1.0, 2.0, 1.5, 4.0], "mark": "x"})
    windows = pd.DataFrame({"unique_id": [1, 2], "start": 0.0, "end": 5.0})
    fitted = PointProcessForecaster("poisson", max_epochs=1, random_state=0).fit(events, windows=windows)
    pair = r"Did you mean '?1'?\? .*Give the ids one type in both"
    with pytest.raises(DataError, match=pair):
        fitted.fit(events, windows=as_text(windows))
    with pytest.raises(DataError, match=pair):  # a stream of its own that had no events
        fitted.fit(events, windows=pd.concat([windows, as_text(windows)[:1]]))
    with pytest.raises(DataError, match=pair):
        fitted.fit(events[2:], validation=as_text(events[:2]), windows=windows)
    with pytest.raises(DataError, match=pair):
        fitted.predict_intensity(times=[3.0], context=as_text(events), windows=windows)
    with pytest.raises(DataError, match=pair):
        fitted.predict_intensity(times={"1": [3.0]})
    with pytest.raises(DataError, match=r"no column 'unique_id'. Did you mean 'Unique_ID'"):
        fitted.fit(events, windows=windows.rename(columns={"unique_id": "Unique_ID"}))

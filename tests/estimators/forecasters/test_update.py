"""Streaming: forecasts after updates are those from the whole history, whatever the cut of the stream."""

from __future__ import annotations

import copy
import functools

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

import tsode.models.filters.jump_filter as jump_filter
from tests.registries import SMALL_FORECASTERS, small
from tsode import JumpODEForecaster, LastValueForecaster
from tsode.errors import DataError
from tsode.estimators import FORECASTERS
from tsode.estimators.forecasters.base import BaseForecaster
from tsode.models.filters.build import FILTERS
from tsode.testing import example_panel

# many of these ask for times far beyond a history, on purpose
pytestmark = [
    pytest.mark.usefixtures("short_epochs"),
    pytest.mark.filterwarnings("ignore:The history of series:tsode.errors.TsodeWarning"),
]

AT = pd.DatetimeIndex(["2024-03-03 15:00", "2024-03-03 16:00", "2024-03-04 02:30", "2024-03-06 00:15"])
NAMES = [name for name in SMALL_FORECASTERS if name.endswith("float64")]
GIVEN = {"SeasonalNaiveForecaster-float64": {"period": "1D"}}  # which the history in fit is too short to tell


def pieces(frame: pd.DataFrame, seed: int, n: int = 5) -> list[pd.DataFrame]:
    """A stream cut at random: some rows late, and the channels of a row apart from each other."""
    rng = np.random.default_rng(seed)
    alone = [frame.assign(**{other: np.nan}).dropna(subset=[name]) for name, other in (("a", "b"), ("b", "a"))]
    rows = pd.concat([*alone, frame[frame[["a", "b"]].isna().all(axis=1)]], ignore_index=True)
    hours = (rows["ds"] - rows["ds"].min()) / pd.Timedelta("1h") + rng.exponential(4.0, len(rows)) * rng.integers(0, 2)
    rows = rows.iloc[np.argsort(hours.to_numpy(), kind="stable")]
    cuts = np.sort(rng.choice(np.arange(1, len(rows)), n - 1, replace=False))
    return [rows.iloc[i:j] for i, j in zip([0, *cuts], [*cuts, len(rows)])]


def history() -> tuple[pd.DataFrame, pd.DataFrame]:
    """What is fitted on, and what comes later: some of it of a new series."""
    frame = example_panel()
    is_first = (frame["ds"] < "2024-03-02 12:00") & (frame["unique_id"] != "s7")
    return frame[is_first].reset_index(drop=True), frame[~is_first].reset_index(drop=True)


@functools.cache
def made(name: str) -> BaseForecaster:
    """The forecaster of this name, fitted on the first part of the stream; do not change it."""
    return clone(SMALL_FORECASTERS[name]).set_params(**GIVEN.get(name, {})).fit(history()[0])


# of the first two `test_events_may_come_with_the_stream` shows it too, beside events; the last hands rows on to members
SLOW = ("gru_ode_bayes-float64", "semilinear-float64", "AutoForecaster-float64")


@pytest.mark.parametrize("name", [pytest.param(x, marks=[pytest.mark.slow] * (x in SLOW)) for x in NAMES])
def test_forecasts_after_any_cut_of_the_stream_are_those_from_the_whole_history(name):
    whole = pd.concat(history())
    for seed in range(3):
        forecaster = copy.deepcopy(made(name))
        for piece in pieces(history()[1], seed):
            assert forecaster.update(piece) is forecaster
        expected = made(name).predict_quantiles(times=AT, context=whole).set_index(["unique_id", "ds"])
        actual = forecaster.predict_quantiles(times=AT).set_index(["unique_id", "ds"])
        assert set(actual.index) == set(expected.index)
        np.testing.assert_allclose(actual.loc[expected.index], expected, rtol=1e-6, atol=1e-6)
        assert (
            forecaster.last_times_
            == whole.dropna(subset=["a", "b"], how="all").groupby("unique_id")["ds"].max().to_dict()
        )


def test_single_precision_filters_keep_to_the_batch_too():
    first, later = history()
    forecaster = small(JumpODEForecaster).fit(first)
    expected = forecaster.predict(times=AT, context=pd.concat([first, later])).set_index(["unique_id", "ds"])
    for piece in pieces(later, 0):
        forecaster.update(piece)
    actual = forecaster.predict(times=AT).set_index(["unique_id", "ds"]).loc[expected.index]
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


def counted(monkeypatch) -> list[int]:
    """Events that filters run over from now on."""
    seen: list[int] = []
    plain = jump_filter.run_filters

    def run(models, batch, state=None):
        seen.append(int(batch.compact().lengths.sum()))
        return plain(models, batch, state)

    monkeypatch.setattr(jump_filter, "run_filters", run)
    return seen


@pytest.mark.parametrize("n_history", [50, 500])
def test_the_work_of_a_new_row_does_not_grow_with_the_history(n_history, monkeypatch):
    t = np.arange(float(n_history))
    frame = pd.DataFrame({"unique_id": "a", "ds": t, "x": np.sin(t)})
    forecaster = small(JumpODEForecaster, n_members=2, max_context=16).fit(frame)
    forecaster.update(frame.assign(ds=n_history + 0.5).tail(1))
    events = counted(monkeypatch)
    for k in range(1, 11):
        forecaster.update(pd.DataFrame({"unique_id": "a", "ds": [n_history + float(k)], "x": [0.1 * k]}))
        forecaster.predict(times=[n_history + k + 2.0])
    # each row once when the state moves past it; and once, while it is the last, at its forecast
    assert sum(events) == 20


def test_a_late_row_has_its_own_series_run_over_again_and_no_other(monkeypatch):
    first, later = history()
    forecaster = small(JumpODEForecaster).fit(first).update(later.assign(ds=later["ds"].dt.floor("1us")))
    events = counted(monkeypatch)
    when = first[first["unique_id"] == "s0"]["ds"].iloc[1] + pd.Timedelta("1min")
    forecaster.update(pd.DataFrame({"unique_id": ["s0"], "ds": [when], "a": [9.0], "b": [np.nan]}))
    own = example_panel()
    own = own[own["unique_id"] == "s0"].dropna(subset=["a", "b"], how="all")
    assert sum(events) == len(own)  # one more by the late row, and one less: the last is left ahead


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FILTERS if name != "neural_jump_ode"])
def test_events_may_come_with_the_stream(name):
    first, later = history()
    times = pd.to_datetime(["2024-03-01 05:00", "2024-03-02 01:00", "2024-03-03 15:30", "2024-03-05 01:00"])
    events = pd.DataFrame({"unique_id": "s0", "ds": times, "amount": [1.0, 2.0, 3.0, 1.5]})
    lasting = events.assign(unique_id="s1", duration=pd.Timedelta("9h"))
    events = pd.concat([events, lasting])
    early = events["ds"] < "2024-03-01 12:00"
    has_response = name == "innovation"  # whose state the stream carries too
    made = small(JumpODEForecaster, model=name, dtype="float64", zero_input_response=has_response)
    forecaster = made.fit(first, events=events[early])
    how = {"times": AT, "context": pd.concat([first, later]), "events": events}
    expected = forecaster.predict_quantiles(**how).set_index(["unique_id", "ds"])
    parts = pieces(later, 1, 3)
    for piece in parts:
        last = piece is parts[-1]
        forecaster.update(piece, events=events[~early] if last else None)
    actual = forecaster.predict_quantiles(times=AT).set_index(["unique_id", "ds"]).loc[expected.index]
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


def test_samples_go_on_from_the_state_as_from_the_history():
    first, later = history()
    forecaster = small(JumpODEForecaster, dtype="float64").fit(first)
    how = {"times": AT[2:], "n_samples": 4000, "random_state": 0}
    one = "s3"
    whole = pd.concat([first, later])
    whole = whole[whole["unique_id"] == one]
    expected = forecaster.sample(context=whole, **how)
    forecaster.update(later)
    actual = forecaster.sample(pd.DataFrame({"unique_id": one, "ds": AT[2:]}), n_samples=4000, random_state=0)
    np.testing.assert_allclose(actual[["a", "b"]], expected[["a", "b"]], rtol=1e-6)


def test_a_second_value_is_an_error_that_changes_nothing_or_a_mean():
    frame = pd.DataFrame({"unique_id": "p", "ds": [0.0, 1.0, 2.0], "x": [1.0, 2.0, 3.0]})
    twice = pd.DataFrame({"unique_id": ["p", "q"], "ds": [2.0, 5.0], "x": [5.0, 1.0]})
    forecaster = LastValueForecaster().fit(frame)
    with pytest.raises(DataError, match=r"Series 'p' has a value of 'x' at 2.0 already.*duplicates='mean'"):
        forecaster.update(twice)
    assert forecaster.predict(times=[9.0])["x"].tolist() == [3.0]
    averaged = LastValueForecaster(duplicates="mean").fit(frame).update(twice)
    assert averaged.predict(times=[9.0])["x"].tolist() == [4.0, 1.0]


# a variant goes on as its class does
@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=[pytest.mark.slow] * (x.split("-")[0] not in FORECASTERS)) for x in NAMES]
)
def test_refit_goes_on_from_the_weights_and_the_history_as_a_whole(name):
    forecaster, (first, later) = copy.deepcopy(made(name)), history()
    before = forecaster.predict_quantiles(times=AT, context=first)
    unit, horizon = forecaster.time_unit_, forecaster.horizon_
    forecaster.update(later, refit=True)
    assert (forecaster.time_unit_, forecaster.horizon_) == (unit, horizon)
    assert not forecaster.predict_quantiles(times=AT, context=first).equals(before)
    whole = pd.concat([first, later])
    expected = forecaster.predict(times=AT, context=whole).set_index(["unique_id", "ds"])
    actual = forecaster.predict(times=AT).set_index(["unique_id", "ds"]).loc[expected.index]
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_training_goes_on_rather_than_anew():
    first, later = history()
    # at a rate of nearly nothing the weights stay what they were
    forecaster = small(JumpODEForecaster, dtype="float64").fit(first)
    before = forecaster.module_.state_dict()["members.0.z_start"].clone()
    forecaster.set_params(learning_rate=1e-12, weight_decay=0.0).update(later, refit=True)
    torch.testing.assert_close(forecaster.module_.state_dict()["members.0.z_start"], before, atol=1e-6, rtol=0.0)


def test_one_series_without_id_and_arrays_go_on_too():
    wide = pd.Series([1.0, 2.0, 3.0], index=pd.to_datetime(["2024-01-01", "2024-01-03", "2024-01-04"]), name="x")
    forecaster = (
        LastValueForecaster().fit(wide).update(pd.Series([7.0], index=pd.to_datetime(["2024-01-09"]), name="x"))
    )
    assert forecaster.predict(horizon="1D").tolist() == [7.0]
    arrays = LastValueForecaster().fit(np.array([[0.0], [1.0]]), np.array([1.0, 2.0]))
    assert arrays.update(np.array([[2.0]]), np.array([5.0])).predict(np.array([[3.0]])).tolist() == [5.0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (pd.DataFrame({"x": [1.0]}, index=[3.0]), "The new rows have no ids, but the data in fit has some"),
        (pd.DataFrame({"unique_id": "p", "ds": pd.to_datetime(["2024-01-01"]), "x": 1.0}), "update has datetimes"),
        (pd.DataFrame({"unique_id": "p", "ds": [3.0], "z": 1.0}), "no column 'x'"),
    ],
)
def test_rows_that_do_not_go_on_from_the_history_are_refused(rows, message):
    frame = pd.DataFrame({"unique_id": "p", "ds": [0.0, 1.0, 2.0], "x": [1.0, 2.0, 3.0]})
    with pytest.raises(DataError, match=message):
        LastValueForecaster().fit(frame).update(rows)


def test_a_stream_goes_on_from_a_file_and_times_may_become_finer(tmp_path):
    first, later = history()
    forecaster = small(JumpODEForecaster, dtype="float64").fit(first.astype({"ds": "datetime64[s]"}))
    finer = later.assign(ds=later["ds"].astype("datetime64[ns]") + pd.Timedelta(7, "ns"))
    forecaster.update(finer)
    forecaster.save(tmp_path / "model.safetensors")
    loaded = JumpODEForecaster.load(tmp_path / "model.safetensors")
    pd.testing.assert_frame_equal(loaded.predict(times=AT[2:]), forecaster.predict(times=AT[2:]))
    more = pd.DataFrame({"unique_id": ["s0"], "ds": AT[2:3], "a": [9.0], "b": [np.nan]})
    left, right = (one.update(more).predict(times=AT[3:]) for one in (loaded, forecaster))
    pd.testing.assert_frame_equal(left, right, rtol=1e-6)


def test_a_copy_with_other_histories_forecasts_from_them_and_leaves_the_first_as_it_was():
    first, later = history()
    forecaster = copy.deepcopy(made("JumpODEForecaster-float64")).update(
        later.iloc[:3]
    )  # so that it keeps states of its filter
    before = forecaster.predict_quantiles(times=AT)
    other = pd.concat([first, later]).assign(a=lambda rows: rows["a"] + 1.0)
    copied = forecaster.with_history(other)
    pd.testing.assert_frame_equal(
        copied.predict_quantiles(times=AT), forecaster.predict_quantiles(times=AT, context=other)
    )
    assert copied.last_times_["s7"] == other.loc[other["unique_id"] == "s7", "ds"].max()
    assert copied.module_ is forecaster.module_
    pd.testing.assert_frame_equal(forecaster.predict_quantiles(times=AT), before)
    wide = other[other["unique_id"] == "s0"].set_index("ds")[["a", "b"]]
    assert isinstance(forecaster.with_history(wide).predict(times=AT).index, pd.DatetimeIndex)

"""What is wrong with the data or the question: a right answer, or an error that says how to mend it."""

from __future__ import annotations

import datetime
import enum

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from tests.registries import fitted, small
from tsode import (
    AutoForecaster,
    ConstantForecaster,
    DriftForecaster,
    JumpODEForecaster,
    LastValueForecaster,
    SeasonalNaiveForecaster,
)
from tsode.errors import DataError, NotFittedError, ParameterError
from tsode.estimators import FORECASTERS
from tsode.testing import example_panel

# asks for times far beyond a history, on purpose
pytestmark = [
    pytest.mark.usefixtures("short_epochs"),
    pytest.mark.filterwarnings("ignore:The history of series:tsode.errors.TsodeWarning"),
]

BASELINES = [made for made in FORECASTERS.values() if made.is_baseline]
LEARNED = [made for made in FORECASTERS.values() if not made.is_baseline]
WHEN = pd.Timestamp("2024-03-03 16:00")


class Ward(enum.Enum):
    NORTH = 1
    SOUTH = 2


def two_series(ids=("p", "q")) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "unique_id": pd.Series([ids[0], ids[0], ids[0], ids[1], ids[1]], dtype=object),
            "ds": [0.0, 0.5, 2.0, 0.0, 1.25],
            "hr": [60.0, 62.0, 61.0, 80.0, 83.0],
        }
    )


@pytest.fixture(scope="module")
def last_value():
    return LastValueForecaster().fit(two_series())


# -- data that can be read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [f"{name}-float64" for name in FORECASTERS if name != "AutoForecaster"])
def test_unsorted_rows_are_the_same_data(name):
    frame = example_panel()
    mixed = pd.concat([part.sample(frac=1.0, random_state=1) for _, part in frame.groupby("unique_id", sort=False)])
    expected = fitted(name).predict(horizon="5h")
    pd.testing.assert_frame_equal(clone(fitted(name)).fit(mixed).predict(horizon="5h"), expected)


@pytest.mark.parametrize(
    "ids",
    [
        (1, 2),
        ("p", 2),
        (("ward", 3), ("ward", 4)),
        (2.5, -1.0),
        (True, False),
        (pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-02")),
        (datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)),
        (Ward.NORTH, Ward.SOUTH),
        (frozenset({1}), frozenset({2})),
    ],
    ids=str,
)
def test_ids_may_be_of_any_hashable_type(ids):
    forecaster = LastValueForecaster().fit(two_series(ids))
    out = forecaster.predict(horizon=1.0)
    assert set(out["unique_id"]) == set(ids)
    assert out[[key == ids[1] for key in out["unique_id"]]]["hr"].tolist() == [83.0]
    assert forecaster.last_times_ == {ids[0]: 2.0, ids[1]: 1.25}
    assert forecaster.predict(times={ids[0]: [3.0]})["hr"].tolist() == [61.0]


@pytest.mark.parametrize("made", FORECASTERS.values())
def test_a_constant_channel_is_forecast_as_that_constant(made):
    frame = example_panel().assign(b=7.0)
    out = small(made).fit(frame).predict_interval(horizon=["1h"])
    np.testing.assert_allclose(out["b"], 7.0, atol=0.5)
    assert np.isfinite(out.drop(columns=["unique_id", "ds"]).to_numpy()).all()


@pytest.mark.parametrize("made", BASELINES)
def test_times_of_1e15_lose_nothing(made):
    near, far = two_series(), two_series().assign(ds=lambda f: f["ds"] + 1e15)
    params = {"period": 1.5} if made is SeasonalNaiveForecaster else {}
    expected = made(**params).fit(near).predict_interval(times=[3.0, 4.5])
    out = made(**params).fit(far).predict_interval(times=[1e15 + 3.0, 1e15 + 4.5])
    assert (out["ds"] - 1e15).tolist() == expected["ds"].tolist()
    np.testing.assert_allclose(out.iloc[:, 2:], expected.iloc[:, 2:], rtol=1e-12)


@pytest.mark.parametrize("name", [f"{name}-float64" for name in FORECASTERS])
def test_before_its_first_observation_a_series_is_forecast_like_one_never_seen(name):
    forecaster, frame = fitted(name), example_panel(2)
    early = pd.Timestamp("2024-02-01")
    known = forecaster.predict_quantiles(times={"s0": [early]}, context=frame)
    other = frame.assign(a=3.0 * frame["a"], b=np.nan)
    unlike = forecaster.predict_quantiles(times={"s0": [early]}, context=other)
    assert known.equals(unlike)
    assert np.isfinite(known.iloc[:, 2:].to_numpy()).all()


# the automatic choice is one of its members, which read the times
@pytest.mark.parametrize("made", [pytest.param(x, marks=[pytest.mark.slow] * (x is AutoForecaster)) for x in LEARNED])
def test_learned_forecasters_lose_nothing_at_times_of_1e15(made):
    frame = example_panel()
    hours = (frame["ds"] - frame["ds"].min()) / pd.Timedelta("1h")
    near = small(made, dtype="float64").fit(frame.assign(ds=hours)).predict_interval(horizon=[1.0, 30.5])
    far = small(made, dtype="float64").fit(frame.assign(ds=hours + 1e15)).predict_interval(horizon=[1.0, 30.5])
    pd.testing.assert_frame_equal(far.assign(ds=far["ds"] - 1e15), near, rtol=1e-9)


def test_rows_of_one_time_that_fill_each_other_are_one_observation():
    frame = pd.DataFrame({"ds": [0.0, 1.0, 1.0], "a": [1.0, 2.0, np.nan], "b": [3.0, np.nan, 4.0]})
    assert LastValueForecaster().fit(frame).predict(times=[2.0])[["a", "b"]].to_numpy().tolist() == [[2.0, 4.0]]


# -- tiny data ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [made for made in BASELINES if made is not SeasonalNaiveForecaster])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_baselines_answer_from_a_few_observations(made, n):
    series = pd.Series([5.0, 6.0, 8.0][:n], index=[0.0, 1.0, 3.0][:n], name="x")
    forecaster = made().fit(series)
    out = forecaster.predict_interval(times=[-1.0, 10.0])
    assert np.isfinite(out.to_numpy()).all()
    assert np.isfinite(forecaster.sample(times=[10.0], n_samples=3, random_state=0).to_numpy()).all()
    expected = {ConstantForecaster: [5.0, 5.5, 19.0 / 3.0], DriftForecaster: [5.0, 15.0, 15.0]}
    assert out["x"].iloc[1] == pytest.approx(expected.get(made, [5.0, 6.0, 8.0])[n - 1])


@pytest.mark.filterwarnings("ignore:The value 10000 of 'a'")
@pytest.mark.parametrize("made", BASELINES)
def test_baselines_learn_from_a_series_of_one_observation_beside_long_ones(made):
    frame = pd.concat([example_panel(3), pd.DataFrame({"unique_id": ["lone"], "ds": [WHEN], "a": [1e4]})])
    forecaster = made().fit(frame)
    assert forecaster.predict(times={"lone": [WHEN + pd.Timedelta("1h")]})["a"].tolist() == pytest.approx([1e4])
    new = pd.DataFrame({"unique_id": ["new"], "ds": [WHEN], "a": [np.nan], "b": [1.0]})
    share = 1e4 / (frame["a"].notna().sum() * 10)
    assert forecaster.predict(times=[WHEN], context=new)["a"].iloc[0] > 10 + share


@pytest.mark.parametrize("made", LEARNED)
def test_learned_forecasters_name_a_baseline_where_nothing_can_be_learned(made):
    one = pd.Series([5.0], index=[0.0])
    with pytest.raises(DataError, match=r"two observation times.*LastValueForecaster"):
        small(made).fit(one)
    many = pd.DataFrame({"unique_id": range(30), "ds": 0.0, "x": np.arange(30.0)})
    with pytest.raises(DataError, match=r"two observation times.*LastValueForecaster"):
        small(made).fit(many)


@pytest.mark.parametrize("made", LEARNED)
@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.filterwarnings("ignore:No epoch is as good as the model was before training")
@pytest.mark.filterwarnings("ignore:The latent state is not used")  # after two steps
def test_learned_forecasters_answer_from_a_short_series_or_say_why_not(made, n):
    series = pd.Series(np.arange(float(n)) ** 2, index=np.arange(float(n)), name="x")
    try:
        out = small(made).fit(series).predict_interval(horizon=1.0)
    except DataError as error:
        assert "LastValueForecaster" in str(error)  # noqa: PT017 (either is right)
    else:
        assert np.isfinite(out.to_numpy()).all()


def test_a_fit_that_fails_leaves_a_forecaster_unfitted_or_as_it_was():
    forecaster = small(JumpODEForecaster)
    with pytest.raises(DataError):
        forecaster.fit(pd.Series([5.0], index=[0.0]))
    with pytest.raises(NotFittedError, match=r"call fit\(X\) first"):
        forecaster.predict(horizon=1.0)
    forecaster.fit(example_panel())
    before = forecaster.predict(times=[WHEN])
    with pytest.raises(DataError):
        forecaster.fit(pd.Series([5.0], index=[0.0]))
    assert forecaster.predict(times=[WHEN]).equals(before)


# -- data that cannot be read ------------------------------------------------------------------------------------------


def frame_with(**columns):
    return pd.DataFrame({"unique_id": ["p", "p"], "ds": [0.0, 1.0], "hr": [1.0, 2.0]} | columns)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (frame_with(ds=[1.0, 1.0]), r"'p' has 2 values of 'hr' at 1.0: drop all but one, or pass duplicates='mean'"),
        (frame_with(hr=[np.nan, np.nan]), r"All values are NaN"),
        (frame_with(bp=[np.nan, np.nan]), r"channels \['bp'\] hold no observed value.*target=\['hr'\]"),
        (frame_with()[:0], r"no rows: give at least one"),
        (pd.Series(dtype=float), r"no rows|no time"),
        (frame_with(hr=[1.0, np.inf]), r"'hr' is infinite at row 1.*np.nan"),
        (frame_with(hr=[-1e308, 1e308]), r"values of 'hr' are too large.*another unit"),
        (frame_with(hr=[1e-310, 2e-310]), r"too close together for float64"),
        (frame_with(note=["a", "b"]), r"'note' holds string.*drop it, encode it.*target=\['hr'\]"),
        (frame_with(ds=[0.0, np.nan]), r"no time .* at row 1"),
        (frame_with(ds=["1 May", "2 May"]), r"strings such as '1 May'.*pd.to_datetime"),
        (frame_with(unique_id=["p", None]), r"no id .* at row 1"),
        (frame_with(unique_id=[{}, {}]), r"cannot be ids"),
        (np.zeros((4, 2)), r"ndarray of shape \(4, 2\), which says nothing about times"),
        (
            frame_with(ds=[pd.Timestamp("2024-01-01", tz="UTC"), pd.Timestamp("2024-01-02")]),
            r"mixes time zones \(None, UTC.*pd.to_datetime\(\.\.\., utc=True\)",
        ),
        (frame_with(ds=[pd.Timestamp("2024-01-01"), 3.0]), r"mixes types"),
    ],
)
def test_data_that_cannot_be_read_say_how_to_mend_them(data, message):
    for made in (LastValueForecaster, LEARNED[0]):
        with pytest.raises(DataError, match=message):
            small(made).fit(data)


# -- questions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"horizon": "3h"}, r"horizon='3h' is of type str but the series has numbers as times: pass horizon=3.0"),
        ({"horizon": pd.Timedelta("3h")}, r"is a duration but the series has numbers"),
        ({"horizon": -1.0}, r"must be positive: pass times="),
        ({"horizon": np.inf}, r"must be finite"),
        ({"X": "3h"}, r"X takes rows of ids and times, but is '3h': pass horizon='3h'"),
        ({"X": 3}, r"X takes rows of ids and times, but is 3: pass horizon=3"),
        ({"horizon": []}, r"horizon=\[\] is empty"),
        ({"horizon": 1.0, "times": [3.0]}, r"exactly one of X, times and horizon, not times and horizon"),
        ({"times": []}, r"times= is empty"),
        ({"times": ["2024-01-01"]}, r"strings such as '2024-01-01', but the series has numbers"),
        ({"times": [pd.Timestamp("2024-01-01")]}, r"datetimes as times, but the series has numbers"),
        ({"times": [np.nan]}, r"no time"),
        ({"times": {"r": [3.0]}}, r"no history of series 'r'.*'p', 'q'.*context="),
        ({"X": pd.DataFrame({"unique_id": ["P"], "ds": [3.0]})}, r"no history of series 'P' .str.. Did you mean 'p'"),
        ({"X": pd.DataFrame({"ds": [3.0]})}, r"which of the 2 series: add the column 'unique_id'"),
        ({"X": pd.DataFrame({"unique_id": [], "ds": []})}, r"X has no rows"),
        ({"context": two_series().rename(columns={"hr": "hrt"})}, r"no column 'hr'.*Did you mean 'hrt'"),
        ({"context": two_series().assign(ds=pd.Timestamp("2024-01-01"))}, r"values of 'hr' at"),
        ({"context": pd.Series([1.0], index=pd.DatetimeIndex(["2024-01-01"])), "times": [3.0]}, r"numbers"),
        ({"context": two_series().assign(hr="x")}, r"'hr' holds string"),
    ],
)
def test_questions_that_make_no_sense_say_what_to_ask(last_value, question, message):
    with pytest.raises((DataError, ParameterError), match=message):
        last_value.predict(**question)


def test_a_number_is_no_horizon_for_datetimes():
    frame = example_panel(2)
    with pytest.raises(ParameterError, match=r"horizon=3 is a number but the series has datetimes: pass horizon='3h'"):
        LastValueForecaster().fit(frame).predict(horizon=3)
    with pytest.raises(ParameterError, match=r"horizon=3 is a number but the series has datetimes"):
        LastValueForecaster(horizon=3).fit(frame)
    with pytest.raises(ParameterError, match=r"time_unit=2.0 is a number but the series has datetimes"):
        LastValueForecaster(time_unit=2.0).fit(frame)
    with pytest.raises(ParameterError, match=r"horizon='soon' is not a duration"):
        LastValueForecaster(horizon="soon").fit(frame)
    with pytest.raises(ParameterError, match=r"must be positive"):
        LastValueForecaster(horizon="-1h").fit(frame)


def test_a_context_of_another_number_of_channels_is_refused():
    forecaster = LastValueForecaster().fit(example_panel(2))
    with pytest.raises(DataError, match=r"fit saw the channels \['a', 'b'\], but here are \['y'\]"):
        forecaster.predict(horizon="1h", context=pd.Series([1.0], index=pd.DatetimeIndex(["2024-03-01"])))


def test_a_context_of_one_series_without_an_id_answers_rows_without_ids():
    forecaster = LastValueForecaster().fit(two_series())
    history = pd.Series([99.0], index=[0.0], name="hr")
    out = forecaster.predict(pd.DataFrame(index=[1.0, 2.0]), context=history)
    assert out["hr"].tolist() == [99.0, 99.0]


def test_unknown_ids_are_forecast_from_their_context(last_value):
    context = pd.DataFrame({"unique_id": ["new"], "ds": [1.0], "hr": [40.0]})
    rows = pd.DataFrame({"unique_id": ["new", "p"], "ds": [3.0, 3.0]})
    assert last_value.predict(rows, context=context)["hr"].tolist() == [40.0, 61.0]
    assert last_value.predict(horizon=1.0, context=context)["unique_id"].tolist() == ["new"]


def test_a_context_with_nothing_seen_is_forecast_like_any_series(last_value):
    blank = pd.DataFrame({"unique_id": ["new"], "ds": [1.0], "hr": [np.nan]})
    out = last_value.predict(times=[3.0], context=blank)
    assert out["hr"].tolist() == pytest.approx([two_series()["hr"].mean()])


def test_in_a_list_a_series_may_be_asked_for_no_time():
    series = [pd.Series([float(k)], index=[0.0], name=f"s{k}") for k in range(3)]
    forecaster = LastValueForecaster().fit(series)
    asked = [
        pd.Series(np.nan, index=pd.Index(times, dtype=float), name=f"s{k}") for k, times in enumerate(([1, 2], [], [3]))
    ]
    out = forecaster.predict(asked)
    assert [part.tolist() for part in out] == [pytest.approx([0.0, 0.0], abs=1e-12), [], [2.0]]


@pytest.mark.parametrize(
    ("ask", "arguments", "message"),
    [
        ("predict_quantiles", {"quantiles": [0.5, 1.0]}, r"quantiles must lie between 0 and 1"),
        ("predict_quantiles", {"quantiles": []}, r"quantiles must lie between 0 and 1"),
        ("predict_quantiles", {"quantiles": ["half"]}, r"quantiles must lie between 0 and 1"),
        ("predict_interval", {"level": 0.8}, None),
        ("predict_interval", {"level": 100}, r"level must lie between 0 and 100, but is 100: pass e.g. level=\[80.0\]"),
        ("predict_interval", {"level": np.int64(90)}, None),
        ("sample", {"n_samples": 0}, r"n_samples must be a whole number of at least 1, but is 0"),
        ("sample", {"n_samples": 2.5}, r"n_samples must be a whole number"),
        ("sample", {"random_state": "seed"}, r"random_state must be an int"),
    ],
)
def test_levels_and_counts_are_checked(last_value, ask, arguments, message):
    if message is None:
        getattr(last_value, ask)(horizon=1.0, **arguments)
    else:
        with pytest.raises(ParameterError, match=message):
            getattr(last_value, ask)(horizon=1.0, **arguments)


def test_a_channel_named_sample_cannot_be_sampled():
    forecaster = LastValueForecaster().fit(pd.Series([1.0, 2.0], index=[0.0, 1.0], name="sample"))
    with pytest.raises(DataError, match=r"A channel is named 'sample'.*rename"):
        forecaster.sample(horizon=1.0)


def test_scores_say_what_they_need(last_value):
    with pytest.raises(ParameterError, match=r"metric='rmsle' is not known: choose one of nll, crps, mse, mae"):
        last_value.score(two_series(), metric="rmsle")
    with pytest.raises(DataError, match=r"no observed value to score"):
        last_value.score(two_series().assign(hr=np.nan))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"dtype": "float16"}, r"dtype must be 'float32' or 'float64', but is 'float16'"),
        ({"dtype": np.float32}, r"dtype must be 'float32' or 'float64'"),
        ({"device": "tpu9"}, r"device='tpu9' cannot be used .*try 'auto' or 'cpu'"),
        ({"device": None}, r"device=None cannot be used"),
        ({"duplicates": "drop"}, r"duplicates='drop' is not known: choose 'error' or 'mean'"),
        ({"target": "hrr"}, r"no column 'hrr' to read as target. Did you mean 'hr'"),
        ({"id_col": "patient"}, r"no id column 'patient'"),
        ({"time_col": "when"}, r"no time column 'when'"),
        ({"random_state": 1.5}, r"random_state must be an int"),
    ],
)
def test_parameters_of_every_forecaster_are_checked_in_fit(params, message):
    for made in FORECASTERS.values():
        with pytest.raises((ParameterError, DataError), match=message):
            small(made, **params).fit(two_series())


@pytest.mark.parametrize("name", FORECASTERS)
def test_unfitted_use_says_to_fit(name):
    forecaster = FORECASTERS[name]()
    for use in (
        lambda: forecaster.predict(horizon=1.0),
        lambda: forecaster.sample(horizon=1.0),
        lambda: forecaster.impute(two_series()),
        lambda: forecaster.score(two_series()),
        lambda: forecaster.save("nowhere.safetensors"),
    ):
        with pytest.raises(NotFittedError, match=rf"This {name} is not fitted yet: call fit\(X\) first"):
            use()


@pytest.mark.parametrize("labels", [("a", "a-lo-80"), (1, "1"), ("hr-sd", "hr")])
def test_channels_whose_answers_would_hide_each_other_are_refused_by_name(labels):
    frame = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], index=[0.0, 1.0], columns=list(labels))
    forecaster = LastValueForecaster().fit(frame)
    assert forecaster.predict(times=[2.0]).columns.tolist() == list(labels)
    if labels[0] == "hr-sd":
        assert forecaster.predict_interval(times=[2.0], level=[80, 80]).shape == (1, 6)
        ask = forecaster.predict_spread
        assert ask(times=[2.0]).columns.tolist()[:2] == ["hr-sd-sd", "hr-sd-sd-aleatoric"]
    else:
        with pytest.raises(DataError, match=rf"{labels[0]!r} and {labels[1]!r} would both have an answer.*rename one"):
            forecaster.predict_interval(times=[2.0], level=80)


def test_labels_of_quantiles_that_would_hide_each_other_are_refused():
    forecaster = LastValueForecaster().fit(pd.DataFrame([[1.0, 2.0]], index=[0.0], columns=[1, "1"]))
    with pytest.raises(DataError, match=r"channels 1 and '1' would both have an answer '1-q-0.5'"):
        forecaster.predict_quantiles(times=[2.0], quantiles=[0.5])
    with pytest.raises(DataError, match=r"channels 1 and '1' would both have an answer '1-sd"):
        forecaster.predict_spread(times=[2.0])


def test_attributes_of_rows_and_values_are_not_compared():
    rows, values = two_series()[["unique_id", "ds"]], two_series()[["hr"]]
    for part in (rows, values):
        part.attrs["weights"] = np.arange(3)
    forecaster = LastValueForecaster().fit(rows, values)
    assert forecaster.predict(times=[3.0])["hr"].tolist() == [61.0, 83.0]

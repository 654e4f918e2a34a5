"""Splits by time, backtests and tables of scores against what is worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import utilsforecast.losses as theirs
from sklearn.model_selection import GridSearchCV, cross_val_score
from utilsforecast.evaluation import evaluate

from tests.registries import small
from tsode import ConstantForecaster, DriftForecaster, EventTable, JumpODEForecaster, LastValueForecaster
from tsode.backtest import CutoffSplit, backtest, end_cutoffs, score_table
from tsode.conformal import ConformalForecaster
from tsode.errors import DataError, ParameterError
from tsode.metrics import mae
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")

CUTOFFS = ["2024-03-02 06:00", "2024-03-02 20:00"]


def _containers() -> dict[str, object]:
    frame = example_panel(3)
    one = frame[frame["unique_id"] == "s0"].set_index("ds")[["a", "b"]]
    return {"long": frame, "multiindex": frame.set_index(["unique_id", "ds"]), "wide": one, "series": one["a"]}


@pytest.mark.parametrize("kind", ["long", "multiindex", "wide", "series"])
def test_train_is_up_to_the_cutoff_and_test_up_to_the_horizon_after_it_in_any_row_order(kind):
    data = _containers()[kind]
    data = data.sample(frac=1.0, random_state=0)
    times = data["ds"] if kind == "long" else data.index.get_level_values(-1)
    splits = list(CutoffSplit(CUTOFFS, horizon="8h").split(data))
    assert len(splits) == CutoffSplit(CUTOFFS, horizon="8h").get_n_splits() == 2
    for (train, test), cutoff in zip(splits, pd.to_datetime(CUTOFFS)):
        assert train.tolist() == np.flatnonzero(times <= cutoff).tolist()
        assert test.tolist() == np.flatnonzero((times > cutoff) & (times <= cutoff + pd.Timedelta("8h"))).tolist()


def test_time_may_be_numbers_timedeltas_or_have_a_zone():
    hours = [0.0, 1.0, 2.0, 3.0, 4.0]
    expected = [([0, 1, 2], [3, 4])]
    for index, cutoff, horizon in (
        (pd.Index(hours), 2, 2),
        (pd.Index([0, 1, 2, 3, 4]), [2.5], 1.5),
        (pd.to_timedelta(hours, unit="h"), pd.Timedelta("2h"), "2h"),
        (pd.to_datetime("2024-03-01") + pd.to_timedelta(hours, unit="h"), "2024-03-01 02:00", "2h"),
        (
            pd.DatetimeIndex(pd.to_datetime("2024-03-01") + pd.to_timedelta(hours, unit="h"), tz="Asia/Tokyo"),
            "2024-03-01 02:00",
            "2h",
        ),
    ):
        found = CutoffSplit(cutoff, horizon=horizon).split(pd.DataFrame({"x": 1.0}, index=index))
        assert [(train.tolist(), test.tolist()) for train, test in found] == expected
    array = np.array([[4.0, 9.0], [0.0, 9.0], [2.0, 9.0]])
    assert [part.tolist() for part in next(CutoffSplit(2.0, horizon=2.0).split(array))] == [[1, 2], [0]]


def test_cutoffs_at_an_interval_go_back_from_a_horizon_before_the_end_to_the_middle():
    frame = pd.DataFrame({"x": 1.0}, index=np.arange(101.0))
    splitter = CutoffSplit(every=20, horizon=10)
    assert [train[-1] for train, _ in splitter.split(frame)] == [50, 70, 90]
    assert splitter.get_n_splits(frame) == 3
    with pytest.raises(ParameterError, match="depends on the data: pass X"):
        splitter.get_n_splits()


def test_series_without_a_past_are_not_tested_and_groups_tell_series_apart():
    times = pd.DataFrame(index=[0.0, 1.0, 2.0, 1.5, 2.0])
    train, test = next(CutoffSplit(1.0, horizon=5.0).split(times, groups=list("aaabb")))
    assert (train.tolist(), test.tolist()) == ([0, 1], [2])
    with pytest.raises(DataError, match="groups has 2 entries, but X has 5 rows"):
        next(CutoffSplit(1.0, horizon=5.0).split(times, groups=list("ab")))


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"horizon": "1h"}, ParameterError, "exactly one of cutoffs= and every="),
        ({"cutoffs": [3.0], "horizon": "1h"}, DataError, "cutoffs= has numbers as times"),
        ({"cutoffs": CUTOFFS, "horizon": 3}, ParameterError, "horizon=3 is a number but the series has datetimes"),
        ({"cutoffs": CUTOFFS, "horizon": "-1h"}, ParameterError, "must be positive"),
        ({"cutoffs": "2025-01-01", "horizon": "1h"}, DataError, "cutoff 2025-01-01.*no observed row within"),
        ({"cutoffs": "2023-01-01", "horizon": "1h"}, DataError, "cutoff 2023-01-01.*no observed row up to it"),
        ({"every": "1h", "horizon": "900h"}, DataError, "No cutoff lies in the second half"),
        ({"cutoffs": [], "horizon": "1h"}, DataError, "cutoffs= is empty"),
    ],
)
def test_cutoffs_that_cannot_be_are_refused(how, error, message):
    for ask in (
        lambda: list(CutoffSplit(**how).split(example_panel(3))),
        lambda: backtest(LastValueForecaster(), example_panel(3), **how),
    ):
        with pytest.raises(error, match=message):
            ask()


@pytest.mark.slow
def test_searches_and_cross_validation_of_scikit_learn_take_the_splitter():
    frame = example_panel(4)
    splitter = CutoffSplit(CUTOFFS, horizon="8h")
    found = cross_val_score(LastValueForecaster(), frame, cv=splitter, error_score="raise")
    train, test = next(splitter.split(frame))
    assert found[0] == LastValueForecaster().fit(frame.iloc[train]).score(frame.iloc[test])
    search = GridSearchCV(small(JumpODEForecaster), {"loss": ["crps", "mse"]}, cv=splitter, error_score="raise")
    assert np.isfinite(search.fit(frame).cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("refit", [False, True])
def test_a_backtest_holds_the_forecasts_that_would_have_been_made(refit):
    frame = example_panel(3)
    found = backtest(DriftForecaster(), frame, cutoffs=CUTOFFS, horizon="8h", level=80, refit=refit)
    first, cutoff = (pd.Timestamp(time) for time in CUTOFFS)
    past = frame[frame["ds"] <= cutoff]
    made = DriftForecaster().fit(past if refit else frame[frame["ds"] <= first])
    asked = frame[(frame["ds"] > cutoff) & (frame["ds"] <= cutoff + pd.Timedelta("8h"))]
    expected = made.predict_interval(asked, context=past, level=80)
    own = found[found["cutoff"] == cutoff]
    assert len(own) == asked[["a", "b"]].notna().to_numpy().sum()
    for channel in ("a", "b"):
        rows = own[own["unique_id"].str.endswith(f"/{channel}")]
        seen = asked[channel].notna()
        assert rows["y"].tolist() == asked[channel][seen].tolist()
        assert rows["ds"].tolist() == asked["ds"][seen].tolist()
        assert rows["DriftForecaster"].tolist() == expected[channel][seen].tolist()
        for side in ("lo", "hi"):
            bound = expected[f"{channel}-{side}-80"][seen]
            np.testing.assert_allclose(rows[f"DriftForecaster-{side}-80"], bound, rtol=1e-12)


def test_a_backtest_never_sees_what_comes_after_a_cutoff():
    frame = example_panel(3)
    made = small(JumpODEForecaster, dtype="float64")
    how = {"cutoffs": CUTOFFS, "horizon": "8h"}
    left = backtest(made, frame, **how)
    later = frame["ds"] > pd.Timestamp(CUTOFFS[1])
    changed = frame.assign(a=frame["a"].where(~later, 7.0 + frame["a"]))
    right = backtest(made, changed, **how)
    assert not hasattr(made, "module_")
    pd.testing.assert_frame_equal(left.drop(columns="y"), right.drop(columns="y"))


def test_one_channel_keeps_its_id_and_utilsforecast_scores_the_frame_as_it_is():
    frame = example_panel(3).drop(columns="b")
    models = {"last": LastValueForecaster(), "mean": ConstantForecaster()}
    found = backtest(models, frame, every="9h", horizon="8h", level=[80])
    assert list(found.columns[:5]) == ["unique_id", "ds", "cutoff", "y", "last"]
    assert set(found["unique_id"]) == {"s0", "s1", "s2"}
    table = evaluate(found, [theirs.mae, theirs.coverage, theirs.winkler_score], level=[80])
    assert np.isfinite(table[["last", "mean"]].to_numpy()).all()
    pooled = evaluate(found.assign(unique_id="all", cutoff=0), [theirs.mae], agg_fn=None)
    assert pooled["last"].iloc[0] == pytest.approx(mae(found["y"], found["last"]), rel=1e-12)


@pytest.mark.parametrize("kind", ["multiindex", "wide", "series"])
def test_any_container_gives_the_rows_of_the_long_frame(kind):
    found = backtest(LastValueForecaster(), _containers()[kind], cutoffs=CUTOFFS, horizon="8h")
    frame = example_panel(3)
    frame = frame if kind == "multiindex" else frame[frame["unique_id"] == "s0"]
    frame = frame.drop(columns="b") if kind == "series" else frame
    expected = backtest(LastValueForecaster(), frame, cutoffs=CUTOFFS, horizon="8h")
    pd.testing.assert_frame_equal(found.drop(columns="unique_id"), expected.drop(columns="unique_id"))


@pytest.mark.slow
def test_events_are_known_to_forecasts_and_their_past_to_fit():
    frame = example_panel(3)
    events = EventTable(
        pd.DataFrame({"unique_id": "s0", "ds": pd.to_datetime(["2024-03-01 05:00", "2024-03-02 21:00"]), "amount": 1.0})
    )
    made = small(JumpODEForecaster, dtype="float64")
    how = {"cutoffs": CUTOFFS, "horizon": "8h"}
    without, told = backtest(made, frame, **how), backtest(made, frame, events=events, **how)
    assert np.isfinite(told["JumpODEForecaster"]).all()
    assert not np.allclose(without["JumpODEForecaster"], told["JumpODEForecaster"])


def test_baselines_are_always_in_the_table_and_the_last_value_is_the_measure():
    frame = example_panel(4)
    table = score_table({"jump": small(JumpODEForecaster)}, frame, cutoffs=CUTOFFS, horizon="8h")
    names = ["jump", "ConstantForecaster", "LastValueForecaster", "DriftForecaster"]
    assert table.index.tolist() == [(channel, name) for channel in ("a", "b") for name in names]
    assert (table.xs("LastValueForecaster", level="model").filter(like="-rel") == 1.0).all(axis=None)
    assert np.isfinite(table.to_numpy()).all()
    found = backtest(LastValueForecaster(), frame, cutoffs=CUTOFFS, horizon="8h", level=80)
    rows = found[found["unique_id"].str.endswith("/a")]
    assert table.loc[("a", "LastValueForecaster"), "mae"] == mae(rows["y"], rows["LastValueForecaster"])
    with pytest.raises(ParameterError, match=r"\['mape'\] are not known"):
        score_table({}, frame, cutoffs=CUTOFFS, horizon="8h", metrics=["mape"])


def test_other_names_of_columns_reach_the_baselines_through_any_forecaster():
    frame = example_panel(4).rename(columns={"unique_id": "who", "ds": "when"})
    made = LastValueForecaster(id_col="who", time_col="when", target="a")
    for forecaster in (made, ConformalForecaster(made, n_bins=1)):
        table = score_table({"x": forecaster}, frame, cutoffs=CUTOFFS, horizon="8h", metrics=["mae"])
        assert table.index.tolist()[0] == ("a", "x")
        assert len(table) == 4


def test_the_crps_of_the_table_is_that_of_the_whole_distribution_to_two_per_cent():
    frame = example_panel(6).drop(columns="b")
    table = score_table({}, frame, cutoffs=CUTOFFS[0], horizon="8h", metrics=["crps"])
    train, test = next(CutoffSplit(CUTOFFS[0], horizon="8h").split(frame))
    exact = -LastValueForecaster(horizon="8h").fit(frame.iloc[train]).score(frame.iloc[test], metric="crps")
    assert table.loc[("a", "LastValueForecaster"), "crps"] == pytest.approx(exact, rel=0.02)


def test_what_cannot_forecast_intervals_is_refused():
    with pytest.raises(ParameterError, match="'x' is a int, which has no predict_interval"):
        backtest({"x": 3}, example_panel(3), cutoffs=CUTOFFS, horizon="8h")


def test_series_with_cutoffs_of_their_own_are_forecast_from_these():
    frame = example_panel(3)
    frame["ds"] += pd.to_timedelta(100 * frame["unique_id"].str[1:].astype(int), unit="D")  # no one time cuts two
    cutoffs = end_cutoffs(frame, "8h", n_cutoffs=2)
    found = backtest(LastValueForecaster(), frame, cutoffs=cutoffs, horizon="8h", level=80)
    for key, own in frame.groupby("unique_id"):
        last = own["ds"].max()
        assert cutoffs[key] == [last - pd.Timedelta("16h"), last - pd.Timedelta("8h")]
        for cutoff in cutoffs[key]:
            is_past, is_asked = own["ds"] <= cutoff, (own["ds"] > cutoff) & (own["ds"] <= cutoff + pd.Timedelta("8h"))
            rows = found[(found["unique_id"] == f"{key}/a") & (found["cutoff"] == cutoff)]
            assert rows["y"].tolist() == own["a"][is_asked].dropna().tolist()
            assert (rows["LastValueForecaster"] == own["a"][is_past].dropna().iloc[-1]).all()


def test_fit_sees_each_series_up_to_its_own_cutoff_and_the_others_whole():
    frame = example_panel(4)
    cutoffs = {"s0": pd.Timestamp("2024-03-02"), "s1": pd.Timestamp("2024-03-03")}
    made = small(JumpODEForecaster, dtype="float64")
    found = backtest(made, frame, cutoffs=cutoffs, horizon="16h", level=80)
    past = frame[~(frame["ds"] > frame["unique_id"].map(cutoffs))]
    expected = made.fit(past).predict(frame.drop(past.index))
    for key, cutoff in cutoffs.items():
        rows = expected[(expected["unique_id"] == key) & (expected["ds"] <= cutoff + pd.Timedelta("16h"))]
        own = found[found["unique_id"] == f"{key}/b"]
        assert len(own) > 1
        np.testing.assert_allclose(own["JumpODEForecaster"], rows["b"][rows["ds"].isin(own["ds"])], rtol=1e-9)
    assert set(found["unique_id"]) == {"s0/a", "s0/b", "s1/a", "s1/b"}


@pytest.mark.slow
def test_events_after_the_cutoff_of_their_own_series_do_not_reach_fit():
    frame = example_panel(3)
    times = pd.to_datetime(["2024-03-01 05:00", "2024-03-03 02:00"])
    events = pd.concat([pd.DataFrame({"unique_id": f"s{k}", "ds": times, "amount": [1.0, 9.0 * k]}) for k in range(3)])
    made = small(JumpODEForecaster, dtype="float64")
    how = {"cutoffs": {"s1": ["2024-03-02"], "s2": ["2024-03-02"]}, "horizon": "20h"}
    late = (events["ds"] == times[1]) & (events["unique_id"] != "s0")
    told, untold = (backtest(made, frame, events=given, **how) for given in (events, events[~late]))
    pd.testing.assert_frame_equal(told, untold)  # all that is asked about comes before the second event


@pytest.mark.slow
def test_fitted_forecasters_are_asked_as_they_are_and_other_rows_can_be_fitted_on():
    frame = example_panel(4)
    is_other = frame["unique_id"].isin(["s2", "s3"])
    how = {"cutoffs": CUTOFFS, "horizon": "8h"}
    made = small(JumpODEForecaster, dtype="float64").fit(frame[is_other])
    module = made.module_
    fitted = backtest(made, frame[~is_other], prefit=True, **how)
    assert made.module_ is module
    pd.testing.assert_frame_equal(fitted, backtest(made, frame[~is_other], train=frame[is_other], **how))
    table = score_table(made, frame[~is_other], prefit=True, metrics=["n", "mae", "coverage"], level=[80, 95], **how)
    assert list(table.columns) == ["n", "mae", "coverage-80", "coverage-95", "mae-rel"]
    assert table.loc[("a", "JumpODEForecaster"), "n"] == fitted["unique_id"].str.endswith("/a").sum()
    assert (table["coverage-95"] >= table["coverage-80"]).all()


def test_histories_in_context_are_known_up_to_each_cutoff_and_not_forecast():
    frame = example_panel(4)
    first, second = (pd.Timestamp(time) for time in CUTOFFS)
    asked = frame[(frame["unique_id"] == "s1") & (frame["ds"] > first)]
    context = frame[frame["unique_id"].isin(["s0", "s1"])]  # s1 whole, though it is asked about; and another series
    made = small(JumpODEForecaster, dtype="float64").fit(frame[frame["unique_id"].isin(["s2", "s3"])])
    how = {"cutoffs": CUTOFFS, "horizon": "8h", "level": 80}
    found = backtest(made, asked, prefit=True, context=context, **how)
    whole = backtest(made, frame[frame["unique_id"] == "s1"], prefit=True, **how)
    pd.testing.assert_frame_equal(found, whole)
    later = context.assign(a=context["a"].where(context["ds"] <= second, 99.0))
    pd.testing.assert_frame_equal(found, backtest(made, asked, prefit=True, context=later, **how))
    # without prefit, they are learned from as well
    taught = backtest(LastValueForecaster(), asked, context=context, **{**how, "cutoffs": first})
    expected = LastValueForecaster().fit(context[context["ds"] <= first])
    own = asked[asked["ds"] <= first + pd.Timedelta("8h")].dropna(subset="a")
    bound = expected.predict_interval(own, level=80)["a-hi-80"]
    assert taught.loc[taught["unique_id"] == "s1/a", "LastValueForecaster-hi-80"].tolist() == bound.tolist()


def test_context_whose_times_are_of_another_kind_is_refused():
    frame = example_panel(3)
    numbers = frame.assign(ds=np.arange(len(frame), dtype=float))
    with pytest.raises(DataError, match="context"):
        backtest(LastValueForecaster(), frame, cutoffs=CUTOFFS, horizon="8h", context=numbers)


def test_cutoffs_of_series_that_cannot_be_are_refused():
    frame = example_panel(3)
    with pytest.raises(DataError, match=r"has the series 's9' .str., which has no rows"):
        backtest(LastValueForecaster(), frame, cutoffs={"s9": CUTOFFS}, horizon="8h")
    with pytest.raises(DataError, match="No series in cutoffs= has an observed row up to a cutoff of its own"):
        backtest(LastValueForecaster(), frame, cutoffs={"s0": ["2023-01-01"]}, horizon="8h")
    with pytest.raises(DataError, match="No series is longer than 3 times horizon='30h'"):
        end_cutoffs(frame, "30h", n_cutoffs=3)


@pytest.mark.slow
def test_covariates_reach_those_that_read_them_and_past_ones_are_not_asked_about():
    frame = example_panel(4)
    static = pd.DataFrame({"age": [1.0, 2.0, 3.0, 4.0]}, index=[f"s{k}" for k in range(4)])
    known = pd.DataFrame({"price": [0.0, 5.0, -5.0]}, index=pd.to_datetime(["2024-03-01", "2024-03-02", "2024-03-04"]))
    made = small(JumpODEForecaster, dtype="float64", target="a", past_covariates=["b"])
    given = {"static": static, "known": known}
    how = {"cutoffs": CUTOFFS[0], "horizon": "8h", "level": 80}
    named = {"jump": made, "LastValueForecaster": LastValueForecaster(target="a")}
    found = backtest(named, frame, **how, **given)
    assert set(found["unique_id"]) <= set(frame["unique_id"])  # one channel: no names folded in
    train, test = next(CutoffSplit(CUTOFFS[0], horizon="8h").split(frame))
    asked = frame.iloc[test].dropna(subset="a")
    expected = made.fit(frame.iloc[train], **given).predict(asked)["a"]
    np.testing.assert_allclose(found["jump"], expected, rtol=1e-9)
    untold = backtest(named, frame, **how)
    assert not np.allclose(untold["jump"], found["jump"])
    assert untold["LastValueForecaster"].equals(found["LastValueForecaster"])
    table = score_table(made, frame, **{**how, "metrics": ["mae"]}, **given)
    assert table.index.get_level_values("channel").unique().tolist() == ["a"]


@pytest.mark.parametrize("unit", [0.1, pd.Timedelta("100ms")], ids=["numbers", "clock"])
def test_cutoffs_and_windows_are_at_decimal_times(unit):
    steps = np.arange(61)
    times = steps / 10 if unit == 0.1 else pd.Timestamp("2024-01-01") + pd.to_timedelta(100 * steps, unit="ms")
    frame = pd.DataFrame({"unique_id": "a", "ds": times, "y": 1.0 * steps})
    folds = list(
        CutoffSplit(every=3 * unit if unit != 0.1 else 0.3, horizon=7 * unit if unit != 0.1 else 0.7).split(frame)
    )
    assert [len(train) - 1 for train, _ in folds] == list(range(32, 54, 3))
    assert {len(test) for _, test in folds} == {7}
    ends = end_cutoffs(frame, 7 * unit if unit != 0.1 else 0.7, n_cutoffs=4)
    assert ends["a"] == [frame["ds"][k] for k in (32, 39, 46, 53)]
    found = backtest(LastValueForecaster(), frame, every=3 * unit if unit != 0.1 else 0.3, horizon=unit)
    assert found["y"].tolist() == [k + 1 for k in range(32, 60, 3)]

"""Covariates in forecasters: what they are worth where they drive the series, and what is refused by name."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.model_selection import GridSearchCV, GroupKFold

from tests.registries import quick_epochs, small
from tsode import JumpODEForecaster, LatentODEForecaster, LinearSDEForecaster, Unsplit
from tsode.errors import DataError, ParameterError
from tsode.estimators import FORECASTERS
from tsode.testing.assertions import assert_frames_close

# asks for times far beyond a history, on purpose
pytestmark = pytest.mark.filterwarnings("ignore:The history of series:tsode.errors.TsodeWarning")


@pytest.fixture(autouse=True)
def epochs(request) -> Iterator[None]:
    """Short, but for the slow tests, whose claims are of how well was learned."""
    with contextlib.nullcontext() if request.node.get_closest_marker("slow") else quick_epochs():
        yield


# an automatic choice hands tables on to its members, each of which it fits four times
READERS = [
    pytest.param(made, id=name, marks=[pytest.mark.slow] * (name == "AutoForecaster"))
    for name, made in FORECASTERS.items()
    if made.reads_covariates
]
N_SERIES, TAU, NOISE, END = 20, 1.5, 0.05, 20.0


def forced(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """``dx/dt = (u - x) / tau`` with random ``u`` and an offset of each group; rows, ``u`` ahead, and groups."""
    rng = np.random.default_rng(seed)
    rows, ahead, groups = [], [], []
    fine = np.linspace(0.0, END, 8001)
    for number in range(N_SERIES):
        group = ["low", "high"][number % 2]
        knots = np.arange(0.0, END + 0.5, 0.5)
        u = 0.5 * np.cumsum(rng.normal(size=len(knots)))
        x = np.empty_like(fine)
        x[0], drive, step = u[0], np.interp(fine, knots, u), fine[1]
        for k in range(1, len(fine)):
            x[k] = x[k - 1] + step * (0.5 * (drive[k - 1] + drive[k]) - x[k - 1]) / TAU
        times = np.sort(rng.choice(fine, 30, replace=False))
        level = {"low": -1.0, "high": 2.0}[group]
        y = level + np.interp(times, fine, x) + NOISE * rng.normal(size=30)
        key = f"s{number}"
        rows.append(pd.DataFrame({"unique_id": key, "ds": times, "y": y}))
        ahead.append(pd.DataFrame({"unique_id": key, "ds": knots, "u": u}))
        groups.append({"unique_id": key, "group": group})
    return pd.concat(rows, ignore_index=True), pd.concat(ahead, ignore_index=True), pd.DataFrame(groups)


ROWS, AHEAD, GROUPS = forced()
TRAIN, TEST = ROWS[ROWS["ds"] < 14.0], ROWS[ROWS["ds"] >= 14.0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "made",
    [
        JumpODEForecaster(max_epochs=6, n_members=1),
        LatentODEForecaster(max_epochs=6),
        LinearSDEForecaster(max_epochs=10),
    ],
    ids=lambda made: type(made).__name__,
)
def test_a_forced_system_is_forecast_from_what_forces_it(made):
    made.set_params(horizon=6.0, random_state=0)
    without = -made.fit(TRAIN).score(TEST, metric="mse")
    told = -made.fit(TRAIN, known=AHEAD, static=GROUPS).score(TEST, metric="mse")
    # of a variance of 4 and more; the noise alone is .0025
    assert without > 0.8
    assert told < 0.05


@pytest.mark.parametrize("made", READERS)
def test_a_series_without_history_is_forecast_from_its_covariates(made):
    forecaster = small(made, horizon=6.0).fit(TRAIN, known=AHEAD, static=GROUPS)
    nobody = TRAIN.head(0)
    new = pd.DataFrame({"unique_id": ["n1", "n2"], "ds": [3.0, 3.0]})
    tables = {
        "static": pd.DataFrame({"unique_id": ["n1", "n2"], "group": ["low", "high"]}),
        "known": AHEAD[AHEAD["unique_id"].isin(["s0", "s1"])].replace({"s0": "n1", "s1": "n2"}),
    }
    context = pd.concat([nobody, new.assign(ds=1.0, y=np.nan)])
    found = forecaster.predict_interval(new, context=context, level=80, **tables)
    assert np.isfinite(found[["y", "y-lo-80", "y-hi-80"]].to_numpy()).all()
    assert found["y"].nunique() == 2


def test_values_that_hold_and_straight_lines_differ_between_their_times_alone():
    made = small(JumpODEForecaster, horizon=6.0, dtype="float64")
    forecasts = {}
    for path in ("linear", "last"):
        made.set_params(known_path=path).fit(TRAIN, known=AHEAD)
        forecasts[path] = made.predict(times=[14.1])["y"]
        held = AHEAD.assign(ds=AHEAD["ds"] + 0.5 - 1e-9)
        steps = pd.concat([AHEAD, held]).sort_values(["unique_id", "ds"], kind="stable")
        forecasts[f"{path} of steps"] = made.predict(times=[14.1], known=steps)["y"]
    assert not np.allclose(forecasts["linear"], forecasts["last"])
    np.testing.assert_allclose(forecasts["last of steps"], forecasts["last"], rtol=1e-9)


def test_what_holds_needs_no_later_rows_and_a_line_is_not_drawn_on():
    early = AHEAD[AHEAD["ds"] <= 15.0]
    held = small(JumpODEForecaster, known_path="last").fit(TRAIN, known=early)
    assert np.isfinite(held.predict(times=[30.0])["y"]).all()
    drawn = small(JumpODEForecaster).fit(TRAIN, known=early)
    assert np.isfinite(drawn.predict(times=[15.0])["y"]).all()
    with pytest.raises(DataError, match=r"known=\['u'\] of series 's0' ends at 15.0, but is needed up to 15.5"):
        drawn.predict(times=[15.5])
    with pytest.raises(DataError, match="known_path='last'"):
        small(JumpODEForecaster).fit(TRAIN, known=AHEAD[AHEAD["ds"] <= 10.0])


def test_later_rows_go_on_from_those_of_fit_and_replace_what_they_overlap():
    made = small(JumpODEForecaster, dtype="float64").fit(TRAIN, known=AHEAD[AHEAD["ds"] <= 16.0])
    whole = small(JumpODEForecaster, dtype="float64").fit(TRAIN, known=AHEAD)
    later = AHEAD[AHEAD["ds"] >= 15.0]
    # the scale of a covariate is that of its values in fit
    whole.reader_ = replace(whole.reader_, covariates=made.reader_.covariates)
    expected = whole.predict(times=[19.0])
    module = whole.module_
    whole.module_ = made.module_
    assert_frames_close(made.predict(times=[19.0], known=later), whole.predict(times=[19.0]), "rows are joined", 1e-9)
    assert module is not made.module_
    assert len(expected) == N_SERIES


def test_one_table_without_ids_holds_for_all_series():
    shared = AHEAD[AHEAD["unique_id"] == "s3"].drop(columns="unique_id").set_index("ds")
    each = pd.concat([shared.reset_index().assign(unique_id=key) for key in ROWS["unique_id"].unique()])
    made = small(JumpODEForecaster, dtype="float64")
    left, right = (made.fit(TRAIN, known=table).predict(times=[16.0]) for table in (shared, each))
    assert left.equals(right)


def test_a_single_series_takes_tables_without_ids():
    one = TRAIN[TRAIN["unique_id"] == "s0"].set_index("ds")["y"]
    u = AHEAD[AHEAD["unique_id"] == "s0"].set_index("ds")["u"]
    made = small(JumpODEForecaster).fit(one, known=u, static={"group": "low", "age": 3.0})
    assert np.isfinite(made.predict(times=[16.0, 18.0])).all()
    assert made.predict(times=[16.0], known=u + 5.0).iloc[0] != made.predict(times=[16.0]).iloc[0]


def test_updates_go_on_with_covariates_as_the_whole_history_would():
    made = small(JumpODEForecaster, dtype="float64").fit(TRAIN, known=AHEAD, static=GROUPS)
    expected = made.predict(times=[19.5], context=ROWS[ROWS["ds"] < 19.0])
    for low, high in ((14.0, 15.0), (15.0, 15.1), (15.1, 19.0)):
        made.update(ROWS[(ROWS["ds"] >= low) & (ROWS["ds"] < high)])
    assert_frames_close(made.predict(times=[19.5]), expected, "a stream is its history", 1e-6)
    raised = AHEAD.assign(u=AHEAD["u"] + 1.0)
    assert_frames_close(
        made.predict(times=[19.5], known=raised),
        made.predict(times=[19.5], known=raised, context=ROWS[ROWS["ds"] < 19.0]),
        "other covariates are not answered from states of before",
        1e-6,
    )


@pytest.mark.slow
def test_past_covariates_are_looked_at_but_not_forecast():
    rng = np.random.default_rng(1)
    frames = []
    for number in range(30):
        times = np.sort(rng.uniform(0.0, 20.0, 60))
        phase = rng.uniform(0.0, 6.0)
        leader, follower = np.sin(times + phase + 1.0), np.sin(times + phase)
        values = pd.DataFrame({"unique_id": f"s{number}", "ds": times, "y": follower, "lead": leader})
        values.loc[rng.random(60) < 0.9, "y"] = np.nan  # seldom seen, but it follows what is seen often
        frames.append(values)
    rows = pd.concat(frames, ignore_index=True)
    train, test = rows[rows["ds"] < 15.0], rows[(rows["ds"] >= 15.0) & rows["y"].notna()]
    params = {"horizon": 5.0, "max_epochs": 10, "n_members": 1, "random_state": 0}
    alone = JumpODEForecaster(target="y", **params).fit(train)
    both = JumpODEForecaster(target="y", past_covariates="lead", **params).fit(train)
    assert list(both.channels_) == ["y"]
    assert both.predict(times=[16.0]).columns.tolist() == ["unique_id", "ds", "y"]
    assert both.predict_interval(times=[16.0], level=80).columns.tolist()[2:] == ["y", "y-lo-80", "y-hi-80"]
    assert -both.score(test, metric="mse") < 0.5 * -alone.score(test, metric="mse")


@pytest.mark.parametrize("made", READERS)
def test_past_covariates_are_kept_by_files_and_by_every_question(made, tmp_path):
    rows = ROWS.assign(other=np.arange(len(ROWS)) % 7)
    forecaster = small(made, past_covariates=["other"]).fit(rows[rows["ds"] < 14.0])
    forecaster.save(tmp_path / "model")
    loaded = made.load(tmp_path / "model")
    asked = rows[rows["ds"] >= 14.0]
    assert loaded.predict(asked).equals(forecaster.predict(asked))
    assert list(loaded.channels_) == ["y"]
    assert forecaster.sample(times=[16.0], n_samples=2).columns.tolist() == ["unique_id", "ds", "sample", "y"]
    assert forecaster.impute(asked).columns.tolist() == ["unique_id", "ds", "y"]
    assert np.isfinite(forecaster.score(asked))
    forecaster.update(asked)


def test_the_calendar_is_told_where_the_data_cover_it_and_shown():
    hours = pd.date_range("2024-01-01", periods=24 * 6, freq="1h")
    wave = pd.Series(np.sin(2 * np.pi * hours.hour / 24), index=hours, name="y")
    made = small(JumpODEForecaster)
    assert repr(made.fit(wave)).endswith("# calendar: day")
    assert made.calendar_ == ["day"]
    assert "calendar" not in repr(JumpODEForecaster())
    assert made.set_params(calendar=None).fit(wave).calendar_ == []
    assert "# calendar" not in repr(made)


@pytest.mark.slow
def test_a_season_that_is_told_is_forecast_better_than_one_that_must_be_remembered():
    rng = np.random.default_rng(0)
    days = pd.date_range("2010-01-01", "2016-01-01", freq="7D")
    season = pd.Series(np.cos(2 * np.pi * (days.dayofyear - 200) / 365.25), index=days, name="y")
    train = (season + rng.normal(size=len(days)))[:"2014-06-30"]  # mostly noise: a single turn says little
    errors = {"auto": 0.0, None: 0.0}
    for calendar, seed in itertools.product(errors, range(3)):  # one that is remembered may be, or may be lost
        made = JumpODEForecaster(n_modes=8, n_static=4, max_epochs=6, n_members=1, batch_size=16, random_state=seed)
        ahead = made.set_params(horizon="400D", calendar=calendar).fit(train).predict(times=days[days > "2014-07-01"])
        errors[calendar] += float(((ahead - season[ahead.index]) ** 2).mean())
        assert made.calendar_ == (["year"] if calendar else [])
    assert errors["auto"] < 0.6 * errors[None]


@functools.cache
def fitted_with(*tables: str) -> JumpODEForecaster:
    """Fitted with some of the tables; do not change it."""
    return small(JumpODEForecaster).fit(TRAIN, **{name: {"known": AHEAD, "static": GROUPS}[name] for name in tables})


@pytest.mark.parametrize(
    ("fit", "ask", "message"),
    [
        ([], {"static": GROUPS}, "fit saw no covariates: leave out static="),
        (["known"], {"static": GROUPS}, "fit saw no static covariates"),
        (["static"], {"known": AHEAD}, "fit saw no covariates that are known ahead"),
        (["static"], {"context": TRAIN.replace({"s0": "new"})}, r"none for series 'new': give them in static="),
        (["known"], {"context": TRAIN.replace({"s0": "new"})}, r"none for series 'new': give them in known="),
        (
            ["known"],
            {"known": AHEAD.rename(columns={"u": "v"})},
            "known= cannot be read. There is no column 'u'",
        ),
        (["known"], {"known": AHEAD.assign(u=np.nan)}, "known= cannot be read. All values are NaN"),
    ],
)
def test_tables_that_do_not_fit_are_refused_by_name(fit, ask, message):
    made = fitted_with(*fit)
    before = made.predict(times=[16.0])
    with pytest.raises(DataError, match=message):
        made.predict(times=[16.0], **ask)
    assert made.predict(times=[16.0]).equals(before)


def test_parameters_about_covariates_are_checked():
    with pytest.raises(ParameterError, match="known_path='spline' is not known: choose 'linear' or 'last'"):
        small(JumpODEForecaster, known_path="spline").fit(TRAIN)
    with pytest.raises(DataError, match="past_covariates names 'w', but the columns are"):
        small(JumpODEForecaster, past_covariates="w").fit(TRAIN)
    with pytest.raises(DataError, match="leaves no channel to forecast"):
        small(JumpODEForecaster, past_covariates="y").fit(TRAIN)
    with pytest.raises(DataError, match="those are not read: leave out y="):
        small(JumpODEForecaster, past_covariates="y").fit(TRAIN[["unique_id", "ds"]], TRAIN["y"])
    with pytest.raises(DataError, match="none for series 's1'"):
        small(JumpODEForecaster).fit(TRAIN, static=GROUPS.iloc[[0, *range(2, N_SERIES)]])


@pytest.mark.slow
def test_searches_hand_covariates_on_whole_or_row_by_row():
    hours = np.arange(0.0, 20.0)
    rows = pd.concat([pd.DataFrame({"unique_id": f"s{k}", "ds": hours, "y": np.sin(hours + k)}) for k in range(6)])
    rows = rows.reset_index(drop=True)
    known = rows.rename(columns={"y": "u"}).sample(frac=1.0, random_state=0)  # as many rows, in another order
    static = pd.DataFrame({"unique_id": [f"s{k}" for k in range(6)], "k": np.arange(6.0)})
    with sklearn.config_context(enable_metadata_routing=True):
        made = (
            small(JumpODEForecaster).set_fit_request(static=True, known=True).set_score_request(known=True, static=True)
        )
        search = GridSearchCV(made, {"n_hidden": [4]}, cv=GroupKFold(2))
        params = {"static": Unsplit(static), "known": Unsplit(known), "groups": rows["unique_id"]}
        search.fit(rows, **params)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
        aligned = search.set_params(estimator=made).fit(rows, **params | {"known": known.sort_index()})
    np.testing.assert_allclose(aligned.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"])

"""What `AutoForecaster` promises of its choice: who has a part, who wins, and what stays when something fails."""

from __future__ import annotations

import time
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

import tsode
from tests.own_parts import own_names
from tsode import AutoForecaster, DirectForecaster, LastValueForecaster, LinearSDEForecaster
from tsode.errors import DataError, ParameterError, TsodeError, TsodeWarning
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")

QUICK = ("LastValueForecaster", "ConstantForecaster", "DirectForecaster")
LEVELS = [0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975]


class Failing(LastValueForecaster):
    def fit(self, X, y=None, **tables):
        raise ZeroDivisionError("of my own")


class Slow(LastValueForecaster):
    def fit(self, X, y=None, **tables):
        end = time.perf_counter() + 60.0
        while time.perf_counter() < end:
            time.sleep(0.01)
        return super().fit(X, y, **tables)


class Stopped(LastValueForecaster):
    def fit(self, X, y=None, **tables):
        raise KeyboardInterrupt


def auto(members=QUICK, **params) -> AutoForecaster:
    return AutoForecaster(**{"members": list(members), "budget": None, "random_state": 0, "horizon": "16h"} | params)


@pytest.fixture(scope="module")
def fitted() -> AutoForecaster:
    """Do not change it."""
    return auto().fit(example_panel())


def answers(forecaster: AutoForecaster, **asked) -> pd.DataFrame:
    return forecaster.predict_quantiles(**{"horizon": ["2h", "16h"]} | asked, quantiles=LEVELS)


def one_series(values: np.ndarray) -> pd.Series:
    return pd.Series(values, index=pd.date_range("2024-01-01", periods=len(values), freq="1h"), name="x")


# -- the leaderboard ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_leaderboard_is_sorted_below_the_combination_and_has_the_baselines(fitted):
    rows = fitted.leaderboard_
    assert rows["model"].iloc[0] == "combination"
    assert {"LastValue", "Constant", "Direct"} == set(rows["model"].iloc[1:])
    assert rows["crps"].iloc[1:].is_monotonic_increasing
    reference = rows.set_index("model").loc["LastValue", "crps"]
    np.testing.assert_allclose(rows["skill"], 1.0 - rows["crps"] / reference)
    assert (rows["status"] == "ok").all()
    assert rows["coverage_80"].between(0.0, 1.0).all()


@pytest.mark.slow
def test_weights_are_not_negative_and_sum_to_one_by_channel_and_lead(fitted):
    table = fitted.weights_
    weights = table[list(fitted.members_)]
    assert (weights >= 0.0).all(axis=None)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    assert table["channel"].unique().tolist() == ["a", "b"]
    shares = fitted.leaderboard_.set_index("model").loc[list(fitted.members_), "weight"]
    np.testing.assert_allclose(shares, weights.mean())


@pytest.mark.slow
def test_members_under_names_of_their_own_are_listed_by_these():
    members = {"mine": DirectForecaster(calendar=None), "last": "LastValueForecaster"}
    made = AutoForecaster(members=members, budget=None, random_state=0).fit(example_panel(4))
    assert set(made.leaderboard_["model"]) == {"combination", "mine", "last"}
    assert set(made.members_) <= {"mine", "last"}


def test_the_leaderboard_that_is_handed_out_is_a_copy(fitted):
    rows = fitted.leaderboard_
    rows["crps"] = 0.0
    assert (fitted.leaderboard_["crps"] > 0.0).all()


# -- what fails, lasts or is stopped -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_member_that_fails_is_a_row_with_its_reason_and_changes_no_forecast(fitted):
    with own_names():
        tsode.register("forecaster", "FailingForecaster", Failing)
        made = auto([QUICK[0], "FailingForecaster", *QUICK[1:]]).fit(example_panel())
    row = made.leaderboard_.set_index("model").loc["Failing"]
    assert row["status"] == "failed: ZeroDivisionError: of my own"
    assert row["weight"] == 0.0
    assert np.isnan(row["crps"])
    pd.testing.assert_frame_equal(answers(made), answers(fitted), rtol=0.0, atol=0.0)


def test_where_no_member_can_be_fitted_the_reason_of_each_is_told():
    with pytest.raises(TsodeError, match="Failing: failed: ZeroDivisionError: of my own"):
        auto([Failing()]).fit(example_panel())


def test_a_member_that_overruns_its_time_is_stopped():
    started = time.perf_counter()
    made = auto([*QUICK[:2], Slow()], budget=3.0).fit(example_panel())
    assert time.perf_counter() - started < 20.0  # it would last a minute, and more than one round of it
    assert made.leaderboard_.set_index("model").loc["Slow", "status"].startswith("no time: stopped after")
    assert "Slow" not in made.members_


def test_ctrl_c_in_a_member_keeps_what_is_done_and_says_so():
    with pytest.warns(TsodeWarning, match="fit was interrupted"):
        made = auto([*QUICK[:2], Stopped(), QUICK[2]]).fit(example_panel())
    status = made.leaderboard_.set_index("model")["status"]
    assert status["Stopped"] == "interrupted"
    assert status["Direct"] == "not tried: fit was interrupted"
    assert set(made.members_) <= {"LastValue", "Constant"}
    assert answers(made).notna().all(axis=None)


def test_ctrl_c_before_anything_is_done_is_handed_on():
    with pytest.raises(KeyboardInterrupt):
        auto([Stopped(), *QUICK]).fit(example_panel())


@pytest.mark.slow
def test_fit_keeps_to_its_budget_on_a_small_panel():
    frame = example_panel()
    started = time.perf_counter()
    AutoForecaster(members=["LastValueForecaster"], budget=1.0, random_state=0).fit(frame)
    cheapest = time.perf_counter() - started
    started = time.perf_counter()
    AutoForecaster(budget=6.0, random_state=0).fit(frame)
    # as promised, 10 % more, and two seconds for a machine that others use
    assert time.perf_counter() - started < 1.1 * (6.0 + cheapest) + 2.0


# -- the same again ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_without_a_budget_the_same_seed_gives_the_same_choice_to_the_bit_in_any_order_of_rows(fitted):
    frame = example_panel()
    place = {key: k for k, key in enumerate(frame["unique_id"].unique())}
    mixed = frame.sample(frac=1.0, random_state=0)
    # series stay in the order in which they first come
    again = auto().fit(mixed.sort_values("unique_id", key=lambda ids: ids.map(place), kind="stable"))
    pd.testing.assert_frame_equal(again.weights_, fitted.weights_, rtol=0.0, atol=0.0)
    seconds = ["fit_seconds", "predict_seconds"]
    kept = [one.leaderboard_.drop(columns=seconds) for one in (again, fitted)]
    pd.testing.assert_frame_equal(*kept, rtol=0.0, atol=0.0)
    pd.testing.assert_frame_equal(answers(again), answers(fitted), rtol=0.0, atol=0.0)
    assert again.explain() == fitted.explain()


@pytest.mark.parametrize(("n_series", "members"), [(4, QUICK[:2]), pytest.param(12, QUICK, marks=pytest.mark.slow)])
def test_the_order_of_series_changes_neither_members_nor_answers(n_series, members):
    frame = example_panel(n_series)
    turned = pd.concat([part for _, part in reversed(list(frame.groupby("unique_id", sort=False)))])
    made, other = (auto(members).fit(rows) for rows in (frame, turned))
    assert set(other.members_) == set(made.members_)
    found, wanted = (answers(one).sort_values(["unique_id", "ds"], ignore_index=True) for one in (other, made))
    pd.testing.assert_frame_equal(found, wanted, rtol=1e-9)


# -- nothing to be found -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_of_random_walks_the_last_value_is_the_forecast_and_it_is_said():
    rng = np.random.default_rng(0)
    walks = [one_series(rng.normal(size=60).cumsum()) for _ in range(24)]
    made = auto([*QUICK, "DriftForecaster"], horizon="12h").fit(walks)
    assert "Nothing that was tried beats the naive forecasts, so the last value is the forecast" in made.explain()
    assert list(made.members_) == ["LastValue"]
    assert made.leaderboard_["status"].iloc[0] == "naive"
    alone = LastValueForecaster(horizon="12h").fit(walks)
    levels = [0.025, 0.1, 0.5, 0.9, 0.975]  # knots of the law
    found, wanted = (one.predict_quantiles(horizon=["1h", "6h", "12h"], quantiles=levels) for one in (made, alone))
    found, wanted = (np.stack(one)[..., -len(levels) :].astype(float) for one in (found, wanted))
    np.testing.assert_allclose(found[..., 2], wanted[..., 2], rtol=1e-6, atol=1e-6)
    widths = (one - one[..., 2:3] for one in (found, wanted))
    np.testing.assert_allclose(*widths, rtol=0.2, atol=1e-6)  # a spread that held-out values have set


def test_of_white_noise_the_mean_is_the_forecast_and_it_is_said():
    noise = one_series(np.random.default_rng(1).normal(size=160))
    made = auto(horizon="12h").fit(noise)
    assert "Nothing that was tried beats the naive forecasts, so the mean is the forecast" in made.explain()
    assert list(made.members_) == ["Constant"]


def test_a_wave_is_forecast_better_than_by_any_baseline():
    wave = one_series(np.sin(np.arange(240) / 4.0) + 0.05 * np.random.default_rng(0).normal(size=240))
    made = auto(horizon="12h").fit(wave)
    assert "Nothing" not in made.explain()
    assert made.leaderboard_["skill"].iloc[0] > 0.5


@pytest.mark.parametrize("value", [0.0, 5.0, -1e6])
def test_a_constant_series_has_finite_scores_and_answers(value):
    made = auto(horizon="4h").fit(one_series(np.full(40, value)))
    assert np.isfinite(made.leaderboard_["crps"].iloc[0])
    found = made.predict_quantiles(horizon=["1h", "4h"], quantiles=[0.1, 0.5, 0.9])
    np.testing.assert_allclose(found["x-q-0.5"], value, rtol=1e-6, atol=1e-6)
    assert made.explain()


# -- tables, registered forecasters, other questions -------------------------------------------------------------------


class Telling(LinearSDEForecaster):
    """Keeps what fit was given."""

    given: ClassVar[list[dict]] = []

    def fit(self, X, y=None, **tables):
        type(self).given.append(tables)
        return super().fit(X, y, **tables)


@pytest.mark.slow
def test_tables_reach_the_members_that_read_them_and_no_others():
    frame = example_panel()
    ids = frame["unique_id"].unique()
    doses = pd.DataFrame({"unique_id": ids, "ds": frame.groupby("unique_id", sort=False)["ds"].min().to_numpy()})
    doses["ds"] += pd.Timedelta("20h")
    ages = pd.DataFrame({"unique_id": ids, "age": np.arange(len(ids), dtype=float)})
    known = pd.DataFrame({"ds": pd.date_range(frame["ds"].min(), periods=12, freq="12h"), "u": np.arange(12.0)})
    Telling.given.clear()
    member = Telling(n_state=2, max_epochs=1, calendar=None)
    made = auto([*QUICK, member]).fit(frame, events=doses.assign(amount=1.0), static=ages, known=known)
    assert made.leaderboard_.set_index("model").loc[["LastValue", "Telling"], "status"].str.startswith("ok").all()
    assert all(set(tables) == {"events", "static", "known"} for tables in Telling.given)
    assert Telling.given


@pytest.mark.slow
def test_a_registered_forecaster_joins_by_itself():
    class Own(LastValueForecaster):
        """Of a user."""

    with own_names():
        tsode.register("forecaster", "OwnForecaster", Own)
        made = AutoForecaster(budget=3.0, random_state=0).fit(example_panel(4))
        assert "Own" in made.leaderboard_["model"].tolist()
    assert "Own" not in AutoForecaster(budget=0.5, random_state=0).fit(example_panel(4)).leaderboard_["model"].tolist()


def test_files_keep_the_leaderboard_the_explanation_and_the_members(fitted, tmp_path):
    fitted.save(tmp_path / "auto")
    again = AutoForecaster.load(tmp_path / "auto")
    pd.testing.assert_frame_equal(again.leaderboard_, fitted.leaderboard_)
    pd.testing.assert_frame_equal(again.weights_, fitted.weights_)
    assert again.explain() == fitted.explain()
    assert {k: type(m) for k, m in again.members_.items()} == {k: type(m) for k, m in fitted.members_.items()}
    pd.testing.assert_frame_equal(answers(again), answers(fitted), rtol=0.0, atol=0.0)


@pytest.mark.slow
def test_update_takes_the_members_along():
    frame = example_panel()
    cut = frame["ds"].min() + pd.Timedelta("48h")
    made = auto().fit(frame[frame["ds"] <= cut])
    weights = made.weights_
    made.update(frame[frame["ds"] > cut])
    last = frame.groupby("unique_id")["ds"].max()
    for member in made.members_.values():
        assert {key: pd.Timestamp(t) for key, t in member.last_times_.items()} == last.to_dict()
    pd.testing.assert_frame_equal(made.weights_, weights)
    asked = frame.groupby("unique_id", sort=False).tail(1).assign(ds=lambda rows: rows["ds"] + pd.Timedelta("3h"))
    told = auto().fit(frame[frame["ds"] <= cut]).predict(asked, context=frame)
    pd.testing.assert_frame_equal(made.predict(asked), told)


@pytest.mark.slow
def test_a_member_answers_by_itself_as_the_combination_asks_it(fitted):
    """With one member of weight one, both are the same but for the spread."""
    single = auto(["DirectForecaster"]).fit(example_panel())
    (member,) = single.members_.values()
    middle = [one.predict_quantiles(horizon=["2h", "8h"], quantiles=[0.5]) for one in (single, member)]
    pd.testing.assert_frame_equal(*middle, rtol=1e-9)


def test_samples_have_the_marginals_of_the_quantiles(fitted):
    n = 4000
    paths = fitted.sample(horizon=["4h", "16h"], n_samples=n, random_state=0)
    wanted = fitted.predict_quantiles(horizon=["4h", "16h"], quantiles=[0.1, 0.5, 0.9])
    merged = paths.merge(wanted, on=["unique_id", "ds"])
    for name in ("a", "b"):
        for level in (0.1, 0.5, 0.9):
            below = (merged[name] <= merged[f"{name}-q-{level}"]).groupby([merged["unique_id"], merged["ds"]]).mean()
            # six standard errors of a share of n draws
            assert (np.abs(below - level) < 6.0 * np.sqrt(level * (1.0 - level) / n)).all()


@pytest.mark.slow
def test_validation_series_are_what_members_are_judged_on():
    frame = example_panel()
    is_held = frame["unique_id"].isin(["s0", "s1", "s2"])
    made = auto(QUICK[:2]).fit(frame[~is_held], validation=frame[is_held])
    other = auto(QUICK[:2]).fit(frame[~is_held])
    assert made.leaderboard_["crps"].iloc[0] != other.leaderboard_["crps"].iloc[0]
    assert np.isfinite(made.leaderboard_["crps"]).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"members": ["DirctForecaster"]}, "DirectForecaster"),
        ({"members": []}, "members"),
        ({"members": "Direct"}, "members"),
        ({"members": [3]}, "members"),
        ({"budget": -1.0}, "budget"),
        ({"budget": "1min"}, "budget"),
    ],
)
def test_what_is_no_member_or_budget_is_refused_by_name(params, message):
    with pytest.raises((ParameterError, TsodeError), match=message):
        AutoForecaster(**params).fit(example_panel())


def test_one_row_is_refused_with_what_helps():
    with pytest.raises(DataError, match="two observation times"):
        auto().fit(example_panel().iloc[:1])


@pytest.mark.slow
def test_members_that_read_no_past_covariates_forecast_the_targets_alone_wherever_these_stand():
    frame = example_panel()[["unique_id", "ds", "b", "a"]]  # the covariate comes before the target
    made = auto(QUICK[:2], past_covariates=["b"]).fit(frame)
    alone = auto(QUICK[:2]).fit(frame.drop(columns="b").dropna(subset=["a"]))
    assert list(made.channels_) == ["a"]
    rows = frame["a"].dropna()
    median = made.predict_quantiles(horizon="2h", quantiles=[0.5])["a-q-0.5"]
    assert median.between(rows.min(), rows.max()).all()
    assert set(made.members_) == set(alone.members_)

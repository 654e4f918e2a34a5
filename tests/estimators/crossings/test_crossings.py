"""Crossings that forecasters foretell, against closed forms, and what they may depend on."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import ndtr

from tests.estimators.crossings.scenes import (
    DRIFT,
    SIGMA,
    at_rest,
    decays,
    first_passage,
    patient,
    walker,
    walker_by_equations,
)
from tsode import JumpODEForecaster
from tsode.errors import DataError, NotFittedError, ParameterError, TsodeWarning, UnapproachedLevelError

BEFORE = np.array([1.3, 2.0, 3.0])


@functools.cache
def walking():
    return walker().fit(at_rest(0.0, 0.2, 1.6))


@pytest.mark.parametrize("make", [walker, walker_by_equations])
def test_brownian_motion_with_drift_crosses_with_the_probability_of_its_closed_form(make):
    forecaster = make().fit(at_rest(0.0, 0.2))
    found = forecaster.predict_crossing("y", 1.0, before=BEFORE, n_steps=10, n_samples=2000, random_state=0)
    assert (found.of, found.channel) == ("signal", "y")
    for key, distance in (("a", 1.0), ("b", 0.8)):
        rows = found.probability[found.probability["unique_id"] == key]
        assert rows["ds"].tolist() == BEFORE.tolist()
        gap = np.abs(rows["probability"] - first_passage(BEFORE - 1.0, distance))
        assert (gap < 6.0 * rows["error"]).all()
        assert (rows["reached"] == rows["probability"]).all()
    assert (found.starts["ds"] == 1.0).all()
    assert (found.starts["beyond"] == 0.0).all()


def test_quantiles_of_the_first_time_are_those_of_the_inverse_gaussian_law_and_say_where_they_are_not_known():
    found = walking().predict_crossing("y", 1.0, before=[9.0], quantiles=(0.1, 0.5, 0.99), random_state=0)
    times = found.first_times.set_index(["unique_id", "quantile"])
    for q in (0.1, 0.5):
        t = times.loc[("a", q), "ds"] - 1.0
        # the share of 1,000 paths below their own quantile is off by no more than six standard errors
        assert abs(first_passage(t, 1.0) - q) < 6.0 * np.sqrt(q * (1 - q) / 1000)
        assert not times.loc[("a", q), "is_censored"]
    assert first_passage(8.0, 1.0) < 0.99
    assert np.isnan(times.loc[("a", 0.99), "ds"])
    assert times.loc[("a", 0.99), "is_censored"]


def test_a_series_beyond_the_level_has_to_come_back_and_says_so():
    rows = walking().predict_crossing("y", 1.0, before=[3.0], random_state=0)
    one = rows.probability.set_index("unique_id").loc["c"]
    # back by .6 against the drift
    truth = ndtr((-DRIFT * 2 - 0.6) / (SIGMA * 2**0.5))
    truth += np.exp(-2 * DRIFT * 0.6 / SIGMA**2) * ndtr((DRIFT * 2 - 0.6) / (SIGMA * 2**0.5))
    assert abs(one["probability"] - truth) < 6.0 * one["error"]
    assert one["reached"] == 1.0
    assert rows.starts.set_index("unique_id")["beyond"].tolist() == [0.0, 0.0, 1.0]


def test_the_time_above_is_the_integral_of_the_probability_of_being_above():
    found = walking().predict_crossing("y", 1.0, before=[2.0, 3.0], n_samples=2000, random_state=0).duration
    row = found[(found["unique_id"] == "a") & (found["ds"] == 3.0)].iloc[0]
    truth = quad(lambda t: ndtr((DRIFT * t - 1.0) / (SIGMA * np.sqrt(t))), 0.0, 2.0)[0]
    assert abs(row["mean"] - truth) < 6.0 * row["error"]
    assert row["q-0.1"] <= row["q-0.5"] <= row["q-0.9"] <= 2.0
    below = walking().predict_crossing("y", 1.0, direction="down", before=[3.0], n_samples=2000, random_state=0)
    other = below.duration[below.duration["unique_id"] == "a"].iloc[0]
    assert other["mean"] == pytest.approx(2.0 - row["mean"], abs=1e-6)


@pytest.mark.slow
def test_of_two_levels_the_first_is_that_of_the_exit_from_a_band():
    levels, ways = {"high": 0.8, "low": -0.4}, {"high": "up", "low": "down"}
    found = walking().predict_crossing(
        "y", levels, direction=ways, before=[2.0, 11.0], n_samples=4000, X=None, random_state=0
    )
    last = found.first[(found.first["unique_id"] == "a") & (found.first["ds"] == 11.0)].set_index("level")
    # the scale function of Brownian motion with drift is exp(-2 drift x / sigma^2)
    scale = lambda x: np.exp(-2 * DRIFT * x / SIGMA**2)  # noqa: E731
    truth = (scale(-0.4) - 1.0) / (scale(-0.4) - scale(0.8))
    assert abs(last.loc["high", "incidence"] - truth) < 6.0 * last.loc["high", "error"]
    assert last["incidence"].sum() == pytest.approx(1.0, abs=1e-3)
    early = found.first[(found.first["unique_id"] == "a") & (found.first["ds"] == 2.0)].set_index("level")
    crossed = found.probability[found.probability["unique_id"] == "a"].set_index(["level", "ds"])
    assert (early["incidence"] <= last["incidence"]).all()
    assert early.loc["high", "incidence"] < crossed.loc[("high", 2.0), "probability"] + 0.05


def test_a_list_of_levels_is_named_by_its_numbers():
    found = walking().predict_crossing("y", [1, 1.5], before=[3.0], random_state=0)
    assert found.starts["level"].unique().tolist() == ["1", "1.5"]
    wide = found.probability.pivot(index="unique_id", columns="level", values="probability")
    assert (wide.loc[["a", "b"], "1"] > wide.loc[["a", "b"], "1.5"]).all()


@pytest.mark.parametrize("make", [walker, walker_by_equations, decays])
def test_a_series_has_the_same_crossings_alone_as_in_a_batch_in_any_order(make):
    data = at_rest(0.5, 0.7, 0.2)
    forecaster = make().fit(data)
    how = {"channel": "y", "level": 0.4, "direction": "either", "horizon": [0.5, 2.0], "random_state": 3}
    together = forecaster.predict_crossing(**how)
    turned = forecaster.predict_crossing(**how, context=pd.concat([data.iloc[4:], data.iloc[2:4], data.iloc[:2]]))
    alone = forecaster.predict_crossing(**how, context=data.iloc[2:4])
    for name in ("probability", "first_times", "first", "duration", "starts"):
        whole, other, single = (getattr(found, name) for found in (together, turned, alone))
        for key in "abc":
            rows = whole[whole["unique_id"] == key].reset_index(drop=True)
            pd.testing.assert_frame_equal(rows, other[other["unique_id"] == key].reset_index(drop=True), rtol=1e-9)
        middle = whole[whole["unique_id"] == "b"].reset_index(drop=True)
        pd.testing.assert_frame_equal(middle, single, rtol=1e-9)


def test_levels_of_each_series_are_read_from_a_dict_a_column_or_a_table_of_constants():
    how = {"before": [3.0], "random_state": 0}
    own = {"a": 1.0, "b": 0.9, "c": 2.0}
    table = pd.DataFrame({"unique_id": list(own), "limit": list(own.values())})
    found = walking().predict_crossing("y", own, **how)
    for same in (
        walking().predict_crossing("y", table, level_col="limit", **how),
        walking().predict_crossing("y", pd.Series(own), **how),
        walking().predict_crossing("y", {"level": own}, **how),
    ):
        pd.testing.assert_frame_equal(found.probability, same.probability)
        assert same.starts["value"].tolist() == [1.0, 0.9, 2.0]
    each = [walking().predict_crossing("y", level, **how).probability for level in own.values()]
    np.testing.assert_array_equal(
        found.probability["probability"], [one["probability"][k] for k, one in enumerate(each)]
    )


def test_curves_cross_at_the_roots_of_their_draws_whatever_the_grid():
    data = pd.DataFrame({"unique_id": "a", "ds": [0.5, 1.0], "y": [1.7, 1.5]})
    forecaster = decays().fit(data)
    how = {"level": 0.6, "direction": "down", "before": [3.0, 20.0], "quantiles": [0.2, 0.5, 0.8], "n_samples": 100}
    coarse, fine = (forecaster.predict_crossing("y", **how, n_steps=n, random_state=0) for n in (8, 100))
    times = np.log(2.0 / 0.6) / forecaster.posterior_["k"]
    truth = np.quantile(times, [0.2, 0.5, 0.8], method="inverted_cdf")
    np.testing.assert_allclose(coarse.first_times["ds"], truth, rtol=1e-5)  # what the solver leaves
    np.testing.assert_allclose(coarse.first_times["ds"], fine.first_times["ds"], rtol=1e-8)
    assert coarse.probability["probability"].tolist() == [np.mean(times < 3.0), 1.0]
    assert coarse.starts["n_paths"].tolist() == [100]
    assert coarse.probability["error"][0] == pytest.approx(
        np.sqrt(np.mean(times < 3) * np.mean(times >= 3) / 100 + 1e-4)
    )


def test_a_draw_that_is_taken_twice_counts_once_in_the_error():
    data = pd.DataFrame({"unique_id": "a", "ds": [0.5, 1.0], "y": [1.7, 1.5]})
    found = decays().fit(data).predict_crossing("y", 0.6, direction="down", before=[3.0], n_samples=1000)
    assert found.starts["n_paths"].tolist() == [100]
    assert found.probability["error"][0] > 0.02


def test_a_dose_that_throws_the_level_across_crosses_at_the_dose_and_an_infusion_when_it_gets_there():
    model, data = patient()
    past = pd.DataFrame({"unique_id": "a", "ds": [0.0], "amount": [20.0], "target": "central"})
    with pytest.warns(TsodeWarning, match="not identified"):
        model.fit(data, events=past)
    bolus = pd.concat([past, past.assign(ds=3.0, amount=50.0)])
    found = model.predict_crossing("concentration", 4.0, before=[3.0, 3.5], events=bolus, random_state=0)
    assert found.probability["probability"].tolist() == [0.0, 1.0]
    assert found.first_times["ds"].tolist() == [3.0, 3.0, 3.0]
    # 4 to 5.1 per volume at the dose; above 4 until it has fallen by their ratio
    peak = 2.0 * np.exp(-0.6) + 5.0
    down = model.predict_crossing("concentration", 4.0, direction="down", before=[9.0], events=bolus, random_state=0)
    np.testing.assert_allclose(down.first_times["ds"], 3.0 + np.log(peak / 4.0) / 0.2, rtol=1e-3)
    # an infusion of 20 an hour from 2 to 3.1 peaks there, between two times of the grid
    slow = pd.concat([past, past.assign(ds=2.0, amount=22.0, duration=1.1)])
    at = 2.0 * np.exp(-0.2 * 2.0)
    top = at * np.exp(-0.22) + 10.0 * (1 - np.exp(-0.22))
    for level, is_crossed in ((top - 0.01, 1.0), (top + 0.01, 0.0)):
        found = model.predict_crossing(
            "concentration", level, before=[9.0], events=slow, n_steps=5, quantiles=[0.5], random_state=0
        )
        assert found.probability["probability"].tolist() == [is_crossed]
        if is_crossed:
            truth = 2.0 - np.log((10.0 - level) / (10.0 - at)) / 0.2
            np.testing.assert_allclose(found.first_times["ds"], truth, rtol=1e-3)
    none = model.predict_crossing("concentration", 4.0, before=[9.0], random_state=0)
    assert none.probability["probability"].tolist() == [0.0]


def test_datetimes_stay_datetimes_with_their_zone_and_durations_are_spans():
    start = pd.Timestamp("2024-03-30 12:00", tz="Europe/Berlin")
    data = at_rest(0.0, 0.2).assign(ds=lambda rows: start + pd.to_timedelta(rows["ds"], unit="h"))
    forecaster = walker(time_unit="1h").set_params(horizon="2h").fit(data)
    hours = forecaster.predict_crossing("y", 1.0, horizon=["30min", "2h"], quantiles=[0.1, 0.999], random_state=0)
    plain = walking().predict_crossing("y", 1.0, horizon=[0.5, 2.0], quantiles=[0.1, 0.999], random_state=0)
    plain = {
        name: rows[rows["unique_id"] != "c"] for name, rows in vars(plain).items() if isinstance(rows, pd.DataFrame)
    }
    np.testing.assert_allclose(hours.probability["probability"], plain["probability"]["probability"], atol=1e-6)
    assert hours.probability["ds"].tolist() == [start + pd.Timedelta(hours=h) for h in (1.5, 3.0)] * 2
    times = hours.first_times
    assert times["is_censored"].tolist() == [False, True] * 2
    assert times["ds"].isna().tolist() == [False, True] * 2
    assert str(times["ds"].dt.tz) == "Europe/Berlin"
    elapsed = (times["ds"] - start) / pd.Timedelta("1h")
    np.testing.assert_allclose(elapsed[[0, 2]], plain["first_times"]["ds"].iloc[[0, 2]], rtol=1e-6)
    np.testing.assert_allclose(hours.duration["mean"] / pd.Timedelta("1h"), plain["duration"]["mean"], atol=1e-6)
    assert (hours.starts["ds"] == start + pd.Timedelta("1h")).all()


def test_observations_cross_at_the_times_asked_about_from_the_last_one_on():
    system = walker().system | {"noise": [0.5], "diffusion": [[1e-6]], "offset": [0.0]}
    data = pd.DataFrame(
        {"unique_id": "a", "ds": np.arange(100.0), "y": 0.5 * np.random.default_rng(0).normal(size=100)}
    )
    data.loc[99, "y"] = 0.9
    forecaster = walker().set_params(system=system).fit(data)
    before = [101.0, 102.0, 103.0]
    found = forecaster.predict_crossing("y", 0.8, before=before, n_samples=4000, of="observation", random_state=0)
    assert found.of == "observation"
    assert found.starts["beyond"].tolist() == [1.0]
    sample = forecaster.predict_spread(times=before)
    p = ndtr((forecaster.predict(times=before)["y"] - 0.8) / sample["y-sd"]).to_numpy().mean()
    # beyond at the start: it has to be below once before it is above
    expected = [0.0, (1 - p) * p, (1 - p) * p * (1 + p) + (1 - p) ** 2 * p]
    assert (np.abs(found.probability["probability"] - expected) < 6.0 * found.probability["error"]).all()
    signal = forecaster.predict_crossing("y", 0.8, before=before, random_state=0)
    assert signal.probability["probability"].max() < 1e-6


def test_a_forecaster_that_knows_no_signal_says_so_and_looks_as_often_as_was_looked():
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"unique_id": "a", "ds": np.arange(40.0), "y": rng.normal(size=40)})
    forecaster = JumpODEForecaster(max_epochs=1, random_state=0, horizon=5.0, id_col="unique_id", time_col="ds")
    forecaster.fit(data)
    how = {"before": [44.0], "n_samples": 50, "random_state": 0}
    found = forecaster.predict_crossing("y", 1.0, **how)
    assert found.of == "observation"
    assert "of='observation'" in repr(found)
    same = forecaster.predict_crossing("y", 1.0, n_steps=5, **how)
    pd.testing.assert_frame_equal(found.probability, same.probability)


def test_what_cannot_be_asked_is_said_by_name():
    forecaster = walking()
    with pytest.raises(UnapproachedLevelError, match=r"No path of 'y' comes near the level '1000' .* nearest is 99"):
        forecaster.predict_crossing("y", 1000, before=[3.0])
    with pytest.raises(UnapproachedLevelError, match="level 'far'"):
        forecaster.predict_crossing("y", {"near": 1.0, "far": -500.0}, before=[3.0])
    with pytest.raises(DataError, match=r"no channel 'Y' .* Did you mean 'y'"):
        forecaster.predict_crossing("Y", 1.0, before=[3.0])
    with pytest.raises(DataError, match="does not come after its last observation"):
        forecaster.predict_crossing("y", 1.0, before=[1.0])
    with pytest.raises(ParameterError, match="direction='above' is not known"):
        forecaster.predict_crossing("y", 1.0, direction="above", before=[3.0])
    with pytest.raises(ParameterError, match="direction= has nothing for level 'b2'"):
        forecaster.predict_crossing("y", {"a2": 1, "b2": 2}, direction={"a2": "up"}, before=[3.0])
    with pytest.raises(DataError, match="level= has nothing for series 'b'"):
        forecaster.predict_crossing("y", {"a": 1.0}, before=[3.0])
    with pytest.raises(ParameterError, match="must be a finite number"):
        forecaster.predict_crossing("y", "1", before=[3.0])
    with pytest.raises(ParameterError, match="must be a finite number"):
        forecaster.predict_crossing("y", before=[3.0])
    with pytest.raises(ParameterError, match="level_col='limit' names a column"):
        forecaster.predict_crossing("y", level_col="limit", before=[3.0])
    table = pd.DataFrame({"unique_id": list("abc"), "limit": 1.0})
    with pytest.raises(DataError, match=r"level_col='limits' is no column .* Did you mean 'limit'"):
        forecaster.predict_crossing("y", table, level_col="limits", before=[3.0])
    with pytest.raises(ParameterError, match="name its column by level_col="):
        forecaster.predict_crossing("y", pd.DataFrame({"limit": [1.0]}), before=[3.0])
    with pytest.raises(ParameterError, match="level more than once"):
        forecaster.predict_crossing("y", [1.0, 1.0], before=[3.0])
    with pytest.raises(ParameterError, match="choose 'signal' or 'observation'"):
        forecaster.predict_crossing("y", 1.0, before=[3.0], of="noise")
    with pytest.raises(ParameterError, match="n_samples must be a whole number"):
        forecaster.predict_crossing("y", 1.0, before=[3.0], n_samples=0)
    with pytest.raises(NotFittedError):
        walker().predict_crossing("y", 1.0, before=[3.0])

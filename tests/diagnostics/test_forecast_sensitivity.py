"""Sensitivity of forecasts: differences of `predict`, weights of Kalman, and nothing by what is not yet known."""

import numpy as np
import pandas as pd
import pytest

from tests.registries import SMALL_FORECASTERS, fitted, small
from tsode import (
    AutoForecaster,
    DirectForecaster,
    JumpODEForecaster,
    KnownODEForecaster,
    LastValueForecaster,
    LatentODEForecaster,
    LinearSDEForecaster,
    PointProcessForecaster,
)
from tsode.diagnostics import sensitivity
from tsode.errors import NotFittedError, ParameterError, TsodeWarning
from tsode.inference import AdditiveNoise, Normal
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")

LEADS = [pd.Timedelta("2h"), pd.Timedelta("10h"), pd.Timedelta("16h")]
KEYS = ["forecast_time", "channel"]
DOSED = {
    "jump": lambda: small(JumpODEForecaster, dtype="float64", n_members=1),
    "response": lambda: small(JumpODEForecaster, dtype="float64", n_members=1, zero_input_response=True),
    "mlp": lambda: small(JumpODEForecaster, dtype="float64", n_members=1, evolution="mlp"),
    "linear": lambda: LinearSDEForecaster(max_epochs=1, random_state=0),
    "latent": lambda: small(LatentODEForecaster, dtype="float64"),
    "direct": lambda: DirectForecaster(random_state=0),
}


def doses(panel):
    """Two doses at one time, one in steady state, an infusion and a mark."""
    start, hours = panel["ds"].min(), pd.to_timedelta([3.3, 3.3, 20.1, 30.1, 31.0, 64.7], unit="h")
    one = pd.DataFrame({
        "ds": start + hours, "kind": ["add", "add", "add", "add", "mark", "add"],
        "target": ["a", "b", "a", "a", None, "a"], "amount": [2.0, 1.5, 1.0, 3.0, np.nan, 2.5],
        "duration": [pd.NaT, pd.NaT, pd.NaT, pd.Timedelta("5h"), pd.NaT, pd.NaT],
    })  # fmt: skip
    return pd.concat([one.assign(unique_id=key) for key in panel["unique_id"].unique()[:3]], ignore_index=True)


def slope(ask, step):
    """Central difference of forecasts, with an error of the fourth power of the step."""
    once, twice = ((ask(k * step) - ask(-k * step)) / (2.0 * k * step) for k in (1.0, 2.0))
    return (4.0 * once - twice) / 3.0


def answers(forecaster, context, key, how, **more):
    """Forecasts of a series as a column, in the order of `KEYS`."""
    frame = getattr(forecaster, how)(context=context, horizon=LEADS, **more)
    frame = frame[frame["unique_id"] == key].drop(columns="unique_id").set_index("ds")
    frame.columns = [name.split("-q-")[0] for name in frame.columns]
    return frame.rename_axis(columns="channel").stack().sort_index().to_numpy()


def by_differences(forecaster, panel, row, column, step, how="predict", **more):
    def ask(by):
        moved = panel.copy()
        moved.loc[row, column] += by
        return answers(forecaster, moved, panel.loc[row, "unique_id"], how, **more)

    return slope(ask, step)


def derivative(table, panel, row, column):
    """What the table says of a value, in the same order."""
    where = (table["series"] == panel.loc[row, "unique_id"]) & (table["time"] == panel.loc[row, "ds"])
    own = table[where & (table["source"] == column) & (table["kind"] == "value")]
    assert (own["value"] == panel.loc[row, column]).all()
    return own.sort_values(KEYS)["derivative"].to_numpy()


# -- by observations ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in SMALL_FORECASTERS if "float64" in n and not n.startswith("Auto")])
def test_derivatives_equal_differences_of_predict(name):
    forecaster, panel = fitted(name), example_panel()
    table = sensitivity(forecaster, context=panel, horizon=LEADS)
    assert table.attrs["difference"] < 1e-5
    row_of = {name: panel[(panel["unique_id"] == "s4") & panel[name].notna()].index for name in ("a", "b")}
    for row, column, step in ((row_of["a"][-3], "a", 1e-3), (row_of["b"][-1], "b", 0.03)):
        found, truth = derivative(table, panel, row, column), by_differences(forecaster, panel, row, column, step)
        np.testing.assert_allclose(found, truth, rtol=1e-5, atol=1e-6 * np.abs(truth).max() + 1e-8)


@pytest.mark.parametrize("name", ["JumpODEForecaster-float64", "positive-float64", "LinearSDEForecaster-float64"])
@pytest.mark.parametrize("level", [0.1, 0.5])
def test_derivatives_of_quantiles_equal_their_differences(name, level):
    forecaster, panel = fitted(name), example_panel()
    table = sensitivity(forecaster, context=panel, horizon=LEADS, quantile=level)
    row = panel[(panel["unique_id"] == "s2") & panel["a"].notna()].index[-2]
    truth = by_differences(forecaster, panel, row, "a", 0.01, "predict_quantiles", quantiles=[level])
    found = derivative(table, panel, row, "a")
    np.testing.assert_allclose(found, truth, rtol=1e-4, atol=1e-5 * np.abs(truth).max())


def test_of_a_linear_system_they_are_the_weights_of_kriging():
    """An Ornstein-Uhlenbeck process in noise: the forecast is k' (K + R)^-1 (y - mean) + mean."""
    rate, noise, times = 0.4, 0.5, np.array([0.0, 0.7, 1.1, 3.0, 4.2])
    system = {"drift": [[-rate]], "diffusion": [[1.0]], "readout": [[1.0]], "noise": [noise], "readout_offset": [3.0]}
    data = pd.Series([1.0, 2.0, 1.5, 4.0, 2.5], index=times, name="y")
    table = sensitivity(LinearSDEForecaster(system=system).fit(data), times=[5.0, 6.5])

    def kernel(s, t):
        return np.exp(-rate * np.abs(s[:, None] - t)) / (2.0 * rate)

    for when, own in table.groupby("forecast_time"):
        weights = np.linalg.solve(kernel(times, times) + noise**2 * np.eye(5), kernel(times, np.array([when])))[:, 0]
        np.testing.assert_allclose(own["derivative"], weights, rtol=1e-10)
        assert own["forecast"].to_numpy() == pytest.approx(3.0 + weights @ (data.to_numpy() - 3.0), rel=1e-10)
    assert table["time"].tolist() == np.repeat(times, 2).tolist()


@pytest.mark.parametrize("name", ["LastValueForecaster-float64", "DriftForecaster-float64"])
def test_what_moves_with_the_data_has_weights_that_add_up_to_one(name):
    table = sensitivity(fitted(name), horizon=LEADS)
    own = table[table["source"] == table["channel"]].groupby(["series", *KEYS])["derivative"].sum()
    np.testing.assert_allclose(own, 1.0, rtol=1e-12)


def test_a_local_level_is_an_average_of_the_past():
    """Its start is all but unknown: weights are positive, add up to one, and the last is the steady gain 1/2."""
    level = {"drift": [[0.0]], "diffusion": [[1.0]], "readout": [[1.0]], "noise": [2.0**0.5],
             "initial_mean": [0.0], "initial_cov": [[1e8]]}  # fmt: skip
    data = pd.Series(np.arange(30.0) ** 0.5, index=np.arange(30.0), name="y")
    weights = sensitivity(LinearSDEForecaster(system=level).fit(data), times=[40.0])["derivative"].to_numpy()
    assert weights.sum() == pytest.approx(1.0, abs=1e-7)
    np.testing.assert_allclose(weights[10:], 0.5 ** np.arange(20.0, 0.0, -1.0), rtol=1e-6)


def test_a_past_covariate_is_a_source_and_no_forecast():
    panel = example_panel(4)
    forecaster = small(JumpODEForecaster, past_covariates=["b"], dtype="float64", n_members=1).fit(panel)
    table = sensitivity(forecaster, context=panel, horizon=LEADS)
    assert set(table["channel"]) == {"a"}
    assert set(table["source"]) == {"a", "b"}
    row = panel[(panel["unique_id"] == "s2") & panel["b"].notna()].index[-1]
    truth = by_differences(forecaster, panel, row, "b", 0.03)
    np.testing.assert_allclose(derivative(table, panel, row, "b"), truth, rtol=1e-5, atol=1e-8)


def test_one_channel_can_be_asked_for():
    forecaster = fitted("LinearSDEForecaster-float64")
    whole, part = (sensitivity(forecaster, horizon=LEADS, channel=channel) for channel in (None, "b"))
    same = whole[whole["channel"] == "b"].reset_index(drop=True)
    pd.testing.assert_frame_equal(part.drop(columns="channel"), same.drop(columns="channel"), rtol=1e-12)
    with pytest.raises(ParameterError, match="channel='c' is none of"):
        sensitivity(forecaster, channel="c")


# -- by events ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", DOSED)
def test_derivatives_by_doses_and_rates_equal_differences_of_predict(name):
    panel = example_panel(5)
    events = doses(panel)
    forecaster = DOSED[name]().fit(panel, events=events)
    table = sensitivity(forecaster, context=panel, events=events, horizon=LEADS)
    table = table[(table["series"] == "s1") & (table["kind"] != "value")].sort_values(KEYS)
    assert set(table["kind"]) == {"add", "rate"}
    for place in range(6):
        event = events[events["unique_id"] == "s1"].iloc[place]

        def ask(by, event=event):
            moved = events.copy()
            moved.loc[event.name, "amount"] += by
            return answers(forecaster, panel, "s1", "predict", events=moved)

        if event["kind"] == "mark":
            continue
        truth = slope(ask, 1e-3)
        if pd.isna(event["duration"]):
            own = table[
                (table["time"] == event["ds"]) & (table["source"] == event["target"]) & (table["kind"] == "add")
            ]
            assert (own["value"] == event["amount"]).all()
            found = own.set_index(KEYS)["derivative"]
        else:
            ends = [event["ds"], event["ds"] + event["duration"]]
            start, end = (table[(table["time"] == t) & (table["kind"] == "rate")].set_index(KEYS) for t in ends)
            hours = event["duration"] / pd.Timedelta("1h")
            np.testing.assert_allclose(start["value"], event["amount"] / hours, rtol=1e-12)
            np.testing.assert_allclose(end["value"], -event["amount"] / hours, rtol=1e-12)
            found = (start["derivative"] - end["derivative"]) / hours
        # an event after a forecast has no row, and no effect
        whole = pd.MultiIndex.from_product(
            [panel[panel["unique_id"] == "s1"]["ds"].max() + pd.Index(LEADS), ["a", "b"]]
        )
        found = found.reindex(whole, fill_value=0.0).to_numpy()
        np.testing.assert_allclose(found, truth, rtol=1e-5, atol=1e-6 * np.abs(truth).max() + 1e-8)


def test_rates_are_per_unit_of_time_where_times_are_numbers():
    """A dose of 6 over 2 units is a rate of 3; a stable system answers to it linearly."""
    times = np.arange(12.0)
    data = pd.DataFrame({"unique_id": "s", "ds": times, "y": np.sin(times)})
    events = pd.DataFrame(
        {"unique_id": ["s"], "ds": [3.5], "kind": "add", "target": "y", "amount": 6.0, "duration": 2.0}
    )
    forecaster = LinearSDEForecaster(max_epochs=1, random_state=0).fit(data, events=events)
    table = sensitivity(forecaster, times=[13.0])
    start, end = (table[(table["kind"] == "rate") & (table["time"] == t)].iloc[0] for t in (3.5, 5.5))
    assert (start["value"], end["value"]) == (pytest.approx(3.0), pytest.approx(-3.0))
    twice = forecaster.predict(times=[13.0], events=events.assign(amount=12.0))["y"].iloc[0]
    once = forecaster.predict(times=[13.0])["y"].iloc[0]
    assert 3.0 * (start["derivative"] - end["derivative"]) == pytest.approx(twice - once, rel=1e-8)


@pytest.mark.slow
def test_events_that_were_told_to_fit_are_the_default():
    panel = example_panel(5)
    events = doses(panel)
    forecaster = DOSED["linear"]().fit(panel, events=events)
    told = sensitivity(forecaster, events=events, horizon=LEADS)
    pd.testing.assert_frame_equal(sensitivity(forecaster, horizon=LEADS), told)


# -- rows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["JumpODEForecaster-float64", "LinearSDEForecaster-float64", "LatentODEForecaster-float64"]
)
def test_nothing_depends_on_what_comes_later(name):
    """Asked within a history, only what came strictly before has rows, and what comes later changes none of them.

    What comes later includes a value that is farther out than any in training.
    """
    forecaster, panel = fitted(name), example_panel()
    own = panel[panel["unique_id"] == "s6"].reset_index(drop=True)
    when = own["ds"].iloc[8]
    table = sensitivity(forecaster, context=own, times=[when])
    assert (table["time"] < when).all()
    assert table["time"].nunique() == own["ds"][own[["a", "b"]].notna().any(axis=1)].lt(when).sum()
    changed = own.copy()
    changed.loc[own["ds"] >= when, ["a", "b"]] *= 3.0
    pd.testing.assert_frame_equal(sensitivity(forecaster, context=changed, times=[when]), table, rtol=1e-9)
    cut = sensitivity(forecaster, context=own[own["ds"] < when], times=[when])
    pd.testing.assert_frame_equal(cut, table, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["JumpODEForecaster-float64", "LatentSDEForecaster-float64", "DirectForecaster-float64"]
)
def test_a_series_does_not_depend_on_its_batch_mates(name):
    forecaster, panel = fitted(name), example_panel()
    together = sensitivity(forecaster, context=panel, horizon=LEADS)
    alone = sensitivity(forecaster, context=panel[panel["unique_id"] == "s7"], horizon=LEADS)
    same = together[together["series"] == "s7"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, same, rtol=1e-9, atol=1e-12)
    assert together["series"].unique().tolist() == [f"s{k}" for k in range(12)]


def test_single_precision_changes_no_more_than_the_weights_are_rounded():
    double, single = (
        sensitivity(fitted(f"LinearSDEForecaster-{dtype}"), horizon=LEADS) for dtype in ("float64", "float32")
    )
    np.testing.assert_allclose(single["derivative"], double["derivative"], rtol=1e-3, atol=1e-3)


def test_a_value_that_is_taken_for_the_end_of_the_range_has_no_derivative():
    panel = example_panel()
    row = panel[(panel["unique_id"] == "s4") & panel["a"].notna()].index[-3]
    panel.loc[row, "a"] = 1e4
    table = sensitivity(fitted("JumpODEForecaster-float64"), context=panel, horizon=LEADS)
    assert (derivative(table, panel, row, "a") == 0.0).all()
    other = panel[(panel["unique_id"] == "s4") & panel["a"].notna()].index[-4]
    assert (derivative(table, panel, other, "a") != 0.0).all()


def test_far_beyond_the_horizon_derivatives_are_numbers_and_fade():
    table = sensitivity(fitted("JumpODEForecaster-float64"), horizon=["40h", "9000h"])
    assert np.isfinite(table["derivative"]).all()
    ahead = table["forecast_time"] - table["forecast_time"].min()
    near, far = (table.loc[where, "derivative"].abs().max() for where in (ahead < "1000h", ahead > "1000h"))
    assert far < near


def test_a_series_that_stands_at_a_kink_is_named_and_has_no_numbers():
    """Of a value exactly at an end, forecasts are held to it; of one above they are not."""
    panel = example_panel()
    panel["a"] = panel["a"].clip(lower=9.0)
    forecaster = small(JumpODEForecaster, dtype="float64", n_members=1).fit(panel)
    assert forecaster.reader_.ends.low[0] == 9.0
    at_end = panel[panel["a"].notna()].groupby("unique_id")["a"].last()
    row = panel[(panel["unique_id"] == "s1") & panel["a"].notna()].index[-1]
    panel.loc[row, "a"] = 9.0
    with pytest.warns(TsodeWarning, match="do not agree with differences"):
        table = sensitivity(forecaster, context=panel, horizon=LEADS)
    lost = table.groupby("series")["derivative"].agg(lambda by: by.isna().all())
    assert lost["s1"]
    assert not lost[at_end[at_end > 9.1].index.drop("s1", errors="ignore")].any()


def test_what_a_latent_model_is_not_shown_has_no_derivative():
    panel = example_panel(4)
    table = sensitivity(small(LatentODEForecaster, max_context=5).fit(panel), horizon=LEADS)
    for _, own in table.groupby("series"):
        shown = own["time"].drop_duplicates().nlargest(5)
        counts = own.groupby("time")["derivative"].agg(lambda by: bool((by != 0.0).any()))
        assert counts[counts].index.tolist() == sorted(shown)


def test_a_series_without_rows_of_its_own_has_none():
    forecaster, panel = fitted("LastValueForecaster-float64"), example_panel()
    empty = panel.copy()
    empty.loc[empty["unique_id"] == "s2", ["a", "b"]] = np.nan
    table = sensitivity(forecaster, context=empty, times=[panel["ds"].max() + pd.Timedelta("1h")])
    assert "s2" not in set(table["series"])
    assert "s3" in set(table["series"])


# -- what has no answer ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL_FORECASTERS)
def test_every_forecaster_answers_or_says_why_it_cannot(name):
    forecaster = fitted(name)
    if isinstance(forecaster, AutoForecaster):
        with pytest.raises(ParameterError, match=r"ask one of forecaster\.members_"):
            sensitivity(forecaster)
        member = next(iter(forecaster.members_.values()))
        assert sensitivity(member, horizon=LEADS)["derivative"].notna().all()
        return
    table = sensitivity(forecaster, horizon=LEADS[:1])
    assert np.isfinite(table[["value", "forecast", "derivative"]].to_numpy()).all()
    if name == "LatentSDEForecaster-float32":  # draws other paths in double precision
        return
    told = table.groupby(["series", "channel"])["forecast"].first().unstack()
    predicted = forecaster.predict(horizon=LEADS[:1]).set_index("unique_id")
    np.testing.assert_allclose(told[["a", "b"]], predicted.loc[told.index, ["a", "b"]], rtol=1e-4)
    assert (table["derivative"] != 0.0).any()
    assert (table["time"] < table["forecast_time"]).all()


@pytest.mark.parametrize(
    ("components", "message"),
    [(["level"], "kernels that give data no gradient"), (["sharp_season"], "searches for a period")],
)
def test_components_say_why_not(components, message):
    made = LinearSDEForecaster(components=components, random_state=0).fit(example_panel(2))
    with pytest.raises(ParameterError, match=message):
        sensitivity(made)


def test_a_posterior_says_why_not():
    made = KnownODEForecaster(
        rates=lambda t, z, p: (-p.k * z[:, 0],), states=["x"], parameters={"k": Normal(0.5, 0.1)}, initial={"x": 1.0},
        observed={"x": AdditiveNoise("x", sd=0.1)}, inference="laplace", n_draws=50, random_state=0,
    )  # fmt: skip
    data = pd.DataFrame({"x": np.exp(-0.5 * np.arange(5.0))}, index=np.arange(5.0))
    with pytest.raises(ParameterError, match="draws from a posterior"):
        sensitivity(made.fit(data))


def test_a_forecast_that_was_cut_from_the_graph_is_an_error_and_not_a_wrong_number():
    made = small(LastValueForecaster).fit(example_panel(2))
    forecast = made.module_.forecast
    made.module_.forecast = lambda batch, *a, **k: forecast(batch.replace(values=batch.values.detach()), *a, **k)
    with pytest.raises(ParameterError, match="no smooth"):
        sensitivity(made)


def test_wrong_questions_are_told():
    with pytest.raises(ParameterError, match=r"quantile=1\.5 must lie between 0 and 1"):
        sensitivity(fitted("LastValueForecaster-float64"), quantile=1.5)
    with pytest.raises(ParameterError, match="PointProcessForecaster is none"):
        sensitivity(PointProcessForecaster())
    with pytest.raises(NotFittedError, match="call fit"):
        sensitivity(JumpODEForecaster())

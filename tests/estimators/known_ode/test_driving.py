"""Inputs along time in the equations of a forecaster: one rule for paths, forecasts, scenarios, files, messages."""

from __future__ import annotations

import copy
from math import log

import numpy as np
import pandas as pd
import pytest

from tsode import KnownODEForecaster
from tsode.errors import DataError, ParameterError
from tsode.inference import AdditiveNoise, LogNormal, Normal
from tsode.numerics import Dopri5

K, TIMES = 0.7, [0.5, 1.0, 1.8, 3.0, 4.5, 6.0]
KNOTS, INFLOW = [0.0, 1.0, 2.5, 4.0, 8.0], [1.0, 3.0, -2.0, 0.5, 2.0]


def rates(t, z, p):
    return (-p.k * z[:, 0] + p.inflow,)


def closed_form(t: float, k: float, path: str, start: float = 2.0, levels=INFLOW) -> float:
    """z(t) of z' = -k z + u(t) from 2 at 0, piece by piece."""
    z = start
    for begin, end, level, after in zip(KNOTS, [*KNOTS[1:], np.inf], levels, [*levels[1:], levels[-1]]):
        slope = (after - level) / (end - begin) if path == "linear" else 0.0
        h = min(t, end) - begin
        b = slope / k
        a = (level - b) / k
        z = a + b * h + (z - a) * np.exp(-k * h)
        if t <= end:
            break
    return z


def known(ids=("a",), knots=KNOTS, inflow=INFLOW) -> pd.DataFrame:
    return pd.concat([pd.DataFrame({"unique_id": key, "ds": knots, "inflow": inflow}) for key in ids])


def frame(path="linear", ids=("a",), times=TIMES) -> pd.DataFrame:
    levels = [closed_form(t, K, path) for t in times]
    return pd.concat([pd.DataFrame({"unique_id": key, "ds": times, "level": levels}) for key in ids])


def model(**changes) -> KnownODEForecaster:
    given = {
        "states": ["z"], "parameters": {"k": LogNormal(log(1.0), 0.5)}, "initial": {"z": 2.0},
        "observed": {"level": AdditiveNoise("z", sd=0.01)}, "initial_time": 0.0, "inference": "quadrature",
        "n_draws": 64, "random_state": 0, "solver": Dopri5(rtol=1e-7, atol=1e-9),
    }  # fmt: skip
    return KnownODEForecaster(rates, **given | changes)


@pytest.fixture(scope="module")
def fitted() -> KnownODEForecaster:
    return model().fit(frame(ids=("a", "b")), known=known(("a", "b")))


@pytest.fixture(scope="module")
def alone() -> KnownODEForecaster:
    return model().fit(frame(), known=known())


@pytest.fixture(scope="module")
def held() -> KnownODEForecaster:
    return model(known_path="last").fit(frame("last"), known=known())


@pytest.mark.slow
@pytest.mark.parametrize("path", ["linear", "last"])
def test_equations_read_a_known_column_by_name_by_the_rule_of_known_path(path, alone, held):
    own = {"linear": alone, "last": held}[path]
    assert own.summary().loc["k", "mean"] == pytest.approx(K, abs=5 * own.summary().loc["k", "sd"])
    assert own.summary().loc["k", "sd"] < 0.01
    # the same path in forecasts, trajectories, and the pointwise likelihood
    k = own.posterior_["k"].to_numpy()
    truth = np.array([[closed_form(t, rate, path) for t in (6.5, 7.9)] for rate in k])
    np.testing.assert_allclose(own.predict(times=[6.5, 7.9])["level"], truth.mean(axis=0), rtol=1e-6)
    way = own.trajectories([6.5, 7.9], n_draws=64)["z"].to_numpy().reshape(64, 2)
    np.testing.assert_allclose(way, truth, rtol=1e-6)
    likelihood = own.log_likelihood_.to_numpy()
    seen = np.array([[closed_form(t, rate, path) for t in TIMES] for rate in k])
    expected = -0.5 * ((seen - frame(path)["level"].to_numpy()) / 0.01) ** 2 - log(0.01 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(likelihood, expected, atol=1e-3)


@pytest.mark.slow
def test_a_row_without_observation_changes_no_likelihood(alone):
    rows = frame()
    rows = pd.concat([rows, pd.DataFrame({"unique_id": "a", "ds": [2.2, 5.0], "level": np.nan})])
    table = known()
    between = pd.DataFrame({"unique_id": "a", "ds": [1.6, 5.0], "inflow": [3.0 - 5.0 / 1.5 * 0.6, 0.875]})
    more = model().fit(rows, known=pd.concat([table, between]))
    points = pd.DataFrame({"k": [0.3, 0.7, 1.1]})
    one = model().evaluate(points, frame(), known=table)
    two = model().evaluate(points, rows, known=pd.concat([table, between]))
    np.testing.assert_allclose(one, two, rtol=1e-12)
    assert alone.log_evidence_ == pytest.approx(more.log_evidence_, abs=1e-9)
    np.testing.assert_allclose(alone.predict(times=[7.0])["level"], more.predict(times=[7.0])["level"], rtol=1e-6)


@pytest.mark.slow
def test_forecasts_follow_known_values_of_the_future(fitted):
    later = pd.concat([pd.DataFrame({"unique_id": key, "ds": [8.0, 9.0], "inflow": x})
                       for key, x in (("a", [2.0, 10.0]), ("b", [2.0, 2.0]))])  # fmt: skip
    ahead = fitted.predict(times=[9.0], known=later).set_index("unique_id")["level"]
    k = fitted.posterior_["k"].to_numpy()
    start = np.array([closed_form(8.0, rate, "linear") for rate in k])
    slope = {"a": 8.0, "b": 0.0}
    for key, s in slope.items():
        b = s / k
        a = (2.0 - b) / k
        truth = a + b + (start - a) * np.exp(-k)
        assert ahead[key] == pytest.approx(truth.mean(), rel=1e-6)
    # nothing that comes later changes what is before
    before = fitted.predict(times=[7.5], known=later)["level"]
    np.testing.assert_allclose(before, fitted.predict(times=[7.5])["level"], rtol=1e-9)


@pytest.mark.slow
def test_update_goes_on_with_later_inputs(alone):
    own = copy.deepcopy(alone)
    truth = 2.0 / K + (closed_form(8.0, K, "linear") - 2.0 / K) * np.exp(-0.5 * K)
    own.update(
        pd.DataFrame({"unique_id": "a", "ds": [8.5], "level": [truth]}),
        known=pd.DataFrame({"unique_id": "a", "ds": [9.0], "inflow": [2.0]}),
    )
    k = own.posterior_["k"].to_numpy()
    start = np.array([closed_form(8.0, rate, "linear") for rate in k])
    truth = 2.0 / k + (start - 2.0 / k) * np.exp(-k)
    assert own.predict(times=[9.0])["level"][0] == pytest.approx(truth.mean(), abs=0.02)
    own.update(pd.DataFrame({"unique_id": "a", "ds": [8.7], "level": [2.7]}), refit=True)
    assert own.log_likelihood_.shape[1] == 8


@pytest.mark.slow
def test_scenarios_may_differ_in_what_is_known(fitted):
    levels = [1.0, 3.0, -2.0, 0.5, 10.0]
    table = fitted.what_if(
        {"as planned": None, "more": {"known": known(("a",), inflow=levels)}}, times=[3.5, 6.0, 7.5], n_samples=50,
        random_state=0,
    )  # fmt: skip
    more = table[(table["scenario"] == "more") & (table["unique_id"] == "a")].set_index("ds")
    k = fitted.posterior_["k"].to_numpy()
    effect = [closed_form(7.5, rate, "linear", levels=levels) - closed_form(7.5, rate, "linear") for rate in k]
    assert more.loc[7.5, "level-diff"] == pytest.approx(np.mean(effect), rel=1e-6)
    assert more.loc[7.5, "level-diff-lo-80"] == pytest.approx(np.quantile(effect, 0.1), rel=1e-2)
    assert more.loc[3.5, "level-diff"] == 0.0
    other = table[(table["scenario"] == "more") & (table["unique_id"] == "b")]
    assert (other[["level-diff", "level-diff-lo-80", "level-diff-hi-80"]] == 0.0).all(axis=None)


def test_a_new_series_brings_its_own_inputs(fitted):
    levels = [0.0, 1.0, 1.0, 1.0, 1.0]
    seen = closed_form(0.5, K, "linear", levels=levels)
    rows = pd.DataFrame({"unique_id": "new", "ds": [0.5], "level": [seen]})
    ahead = fitted.predict(times=[7.0], context=rows, known=known(("new",), inflow=levels))
    k = fitted.posterior_["k"].to_numpy()
    truth = np.mean([closed_form(7.0, rate, "linear", levels=levels) for rate in k])
    assert ahead["level"].iloc[0] == pytest.approx(truth, abs=0.02)
    with pytest.raises(DataError, match="'other'"):
        fitted.predict(times=[7.0], context=frame(ids=("other",), times=[0.5]))


def test_a_file_keeps_inputs(fitted, tmp_path):
    fitted.save(tmp_path / "model.safetensors")
    again = KnownODEForecaster.load(tmp_path / "model.safetensors", rates=rates)
    pd.testing.assert_frame_equal(again.predict(times=[7.0]), fitted.predict(times=[7.0]), check_exact=True)
    pd.testing.assert_frame_equal(again.log_likelihood_, fitted.log_likelihood_, check_exact=True)


def test_the_same_call_gives_the_draws_of_fit_when_nothing_is_new(fitted):
    # no row is new: forecasts are of the posterior as it is, bit for bit
    one = fitted.predict_quantiles(times=[7.0])
    two = fitted.predict_quantiles(times=[7.0], known=known(("a", "b")))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


@pytest.mark.slow
def test_inputs_with_datetimes_are_those_with_numbers(alone):
    def clock(table):
        return table.assign(ds=pd.Timestamp("2026-01-01") + pd.to_timedelta(table["ds"], unit="h"))

    own = model(initial_time=pd.Timestamp("2026-01-01"), time_unit="1h").fit(clock(frame()), known=clock(known()))
    pd.testing.assert_frame_equal(own.summary(), alone.summary(), rtol=1e-6)


@pytest.mark.parametrize(
    ("table", "changes", "error", "message"),
    [
        (known(knots=[0.2, 1.0, 2.5, 4.0, 8.0]), {}, DataError,
         "known='inflow' of series 'a' begins at 0.2, but the series starts at 0.0"),
        (known(knots=[0.0, 1.0, 2.5, 4.0, 5.0]), {}, DataError, "ends at 5.0, but is needed up to 6.0"),
        (known().rename(columns={"inflow": "k"}), {}, ParameterError, "'k' is a parameter, and an input along time"),
        (known().rename(columns={"inflow": "in flow"}), {}, ParameterError, "named as a variable of Python"),
        (known().assign(inflow=list("abcde")), {}, DataError, "'inflow' of categories, but rates read numbers"),
        (known().assign(inflow=[1.0, 3.0, 2.0, 0.5, np.nan]), {}, DataError,
         "known='inflow' of series 'a' ends at 4.0, but the series has a row at 6.0"),
        (known().rename(columns={"inflow": "inflows"}), {}, AttributeError, "Did you mean 'inflows'"),
        (None, {}, AttributeError, "no parameter 'inflow'.*a column of known="),
        (known(), {"known_path": "cubic"}, ParameterError, "known_path='cubic'"),
    ],
)  # fmt: skip
def test_an_input_that_does_not_meet_the_model_or_the_data_is_said(table, changes, error, message):
    with pytest.raises(error, match=message):
        model(**changes).fit(frame(), known=table)


def test_a_forecast_beyond_the_last_known_value_of_a_line_is_an_error_and_no_extrapolation(fitted, held):
    with pytest.raises(DataError, match=r"ends at 8\.0, but is needed up to 8\.5"):
        fitted.predict(times=[8.5])
    with pytest.raises(DataError, match="known up to 8"):
        fitted.trajectories([8.5])
    assert np.isfinite(held.predict(times=[8.5])["level"]).all()


def test_static_columns_are_refused_by_name():
    with pytest.raises(DataError, match="static=: say what it acts on by covariates="):
        model().fit(frame(), known=known(), static=pd.DataFrame({"unique_id": ["a"], "age": [3.0]}))


@pytest.mark.slow
def test_inputs_of_own_starts_are_followed_inside_the_history():
    # each series' own start, inferred before each row: no look ahead at later inputs or rows
    own = model(initial={"z": Normal(2.0, 1.0)}, inference="laplace").fit(
        frame(ids=("a", "b", "c")), known=known(("a", "b", "c"))
    )
    rows = frame(ids=("b",))
    changed = known(("b",), inflow=[1.0, 3.0, -2.0, 0.5, 99.0])
    changed_rows = rows.assign(level=np.where(rows["ds"] > 3.5, 99.0, rows["level"]))
    asked = rows[rows["ds"] < 4.0]
    one = own.predict_quantiles(asked, context=rows)
    two = own.predict_quantiles(asked, context=changed_rows, known=changed)
    pd.testing.assert_frame_equal(one, two)

"""Influence of one observation: the decay curve of a Kalman filter, and what `predict` says when it is changed."""

import math

import numpy as np
import pandas as pd
import pytest

from tests.registries import fitted
from tsode import LinearSDEForecaster, PointProcessForecaster
from tsode.diagnostics import forgetting, influence
from tsode.errors import DataError, ParameterError
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")

OU = {"drift": [[-0.3]], "diffusion": [[1.0]], "readout": [[1.0]], "noise": [0.8]}


def test_a_kalman_filters_influence_is_its_gain_times_what_later_gains_leave():
    data = pd.Series(np.sin(np.arange(40.0)), index=np.arange(40.0))
    forecaster = LinearSDEForecaster(system=OU).fit(data)
    table = influence(forecaster, lags=[0.25, 1.25, 2.25, 7.25])
    f, q = math.exp(-0.3), (1.0 - math.exp(-0.6)) / 0.6
    variance = 1.0 / 0.6
    for _ in range(100):
        before = f * f * variance + q
        gain = before / (before + 0.64)
        variance = (1.0 - gain) * before
    steps = np.array([0.0, 1.0, 2.0, 7.0])
    truth = gain * ((1.0 - gain) * f) ** steps * math.exp(-0.3 * 0.25)
    np.testing.assert_allclose(table["derivative"], truth, rtol=1e-8)
    assert table["lag_units"].tolist() == [0.25, 1.25, 2.25, 7.25]
    assert table["time"].unique().tolist() == [10.0]
    # and so it falls by half in the half-life of forgetting
    falls = np.log(table["derivative"].iloc[3] / table["derivative"].iloc[0]) / 7.0
    assert falls == pytest.approx(forgetting(forecaster)["exponent_per_unit"].iloc[0], rel=1e-8)


@pytest.mark.parametrize("name", ["JumpODEForecaster-float64", "LatentODEForecaster-float64"])
def test_predictions_within_a_history_change_as_the_curve_says(name):
    forecaster, panel = fitted(name), example_panel()
    lag = pd.Timedelta("7h")
    table = influence(forecaster, panel, lags=[lag])
    one = table[(table["series"] == "s4") & (table["channel"] == "b")].iloc[0]
    row = panel[(panel["unique_id"] == "s4") & (panel["ds"] == one["time"])].index[0]

    def ask(by):
        moved = panel.copy()
        moved.loc[row, one["source"]] += by
        asked = forecaster.predict(times={"s4": [one["time"] + lag]}, context=moved)
        return asked["b"].iloc[0]

    h = 1e-3 if one["source"] == "a" else 0.03
    assert one["derivative"] == pytest.approx((ask(h) - ask(-h)) / (2.0 * h), rel=1e-5)
    assert one["lag_hours"] == pytest.approx(7.0, rel=1e-12)


def test_lags_are_the_same_numbers_in_all_series_and_stay_within_their_histories():
    table = influence(fitted("LinearSDEForecaster-float64"))
    assert table["lag_hours"].nunique() == 12
    ends = example_panel().groupby("unique_id")["ds"].max()
    last = table["time"] + pd.to_timedelta(table["lag_hours"], unit="h")
    assert (last <= table["series"].map(ends) + pd.Timedelta("1s")).all()


def test_the_share_says_which_observation():
    first = influence(fitted("LinearSDEForecaster-float64"), share=0.0)
    starts = example_panel().groupby("unique_id")["ds"].min()
    assert (first.groupby("series")["time"].first() == starts[sorted(first["series"].unique())]).all()


def test_wrong_questions_are_told():
    forecaster = fitted("LinearSDEForecaster-float64")
    with pytest.raises(ParameterError, match="must lie between 0"):
        influence(forecaster, share=1.0)
    with pytest.raises(ParameterError, match="must be after the observation"):
        influence(forecaster, lags=["0h"])
    with pytest.raises(DataError, match="give shorter lags"):
        influence(forecaster, lags=["900h"])
    with pytest.raises(ParameterError, match="PointProcessForecaster is none"):
        influence(PointProcessForecaster())
    with pytest.raises(ParameterError, match="cannot be differentiated"):
        influence(fitted("AutoForecaster-float64"))

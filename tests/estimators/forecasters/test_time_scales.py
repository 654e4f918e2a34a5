"""Scales of time: a silence beside dense data, and horizons far from what the data do, leave the model its unit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsode import LastValueForecaster, LinearSDEForecaster

TIMES = np.arange(60.0)


def frame(times: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"ds": times, "y": np.sin(np.arange(len(times)) % 60 / 4.0)})


@pytest.mark.slow
def test_a_linear_sde_learns_beside_a_silence_as_without_it():
    later = TIMES + 60.0 + 1e6
    forecaster = LinearSDEForecaster(max_epochs=2, random_state=0).fit(frame(np.r_[TIMES, later]))
    error = forecaster.predict(times=later[5:])["y"].to_numpy() - np.sin(TIMES / 4.0)[5:]
    assert np.sqrt(np.mean(error**2)) < 0.19  # with a silence of 1e3; a constant has 0.73


@pytest.mark.parametrize("silence", [1e5, 1e6, 1e12])
@pytest.mark.parametrize("kind", ["float", "int", "datetime", "timedelta"])
def test_silences_do_not_lengthen_the_horizon(kind, silence):
    times = np.r_[TIMES, TIMES + 60.0 + silence, TIMES + 200.0 + 2.0 * silence]
    if kind == "int":
        times = times.astype(np.int64)
    elif kind == "timedelta":
        times = times.astype("m8[us]")
    elif kind == "datetime":
        times = np.datetime64("2024-01-01", "us") + times.astype("m8[us]")
    found = LastValueForecaster().fit(frame(times))
    wanted = np.timedelta64(88, "us") if kind in ("datetime", "timedelta") else 88.5
    assert found.horizon_ == found.time_unit_ == wanted


@pytest.mark.parametrize(("horizon", "unit"), [(5.0, 5.0), (59.0, 59.0), (1e5, 29.5), (1e-4, 1.0), (0.5, 0.5)])
def test_the_unit_is_the_horizon_unless_the_data_are_of_another_scale(horizon, unit):
    assert LastValueForecaster(horizon=horizon).fit(frame(TIMES)).time_unit_ == unit


def test_a_given_unit_stands():
    assert LastValueForecaster(horizon=1e5, time_unit=3.0).fit(frame(TIMES)).time_unit_ == 3.0


def test_gaps_of_short_and_of_bursty_series_count():
    short = np.array([0.0, 1.0, 1000.0])
    assert LastValueForecaster().fit(frame(short)).horizon_ == 500.0
    bursts = (np.arange(20)[:, None] * 500.0 + np.arange(20.0)).ravel()
    assert LastValueForecaster().fit(frame(bursts)).horizon_ == bursts[-1] / 2.0

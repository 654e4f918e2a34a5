"""Changepoints and other seasons of structural components: what is learned of them, said, and refused."""

import numpy as np
import pandas as pd
import pytest

from tsode import LinearSDEForecaster, part
from tsode.errors import DataError, ParameterError

TIMES = np.linspace(0.0, 10.0, 60)
CHANGED = np.where(TIMES >= 4.0, 3.0, 0.0) - 0.8 * (TIMES - 7.0).clip(min=0.0)
DATA = pd.Series(CHANGED + 0.05 * np.random.default_rng(0).normal(size=60), index=TIMES, name="y")
CHANGES = part("changepoints", times=[4.0, 7.0])


@pytest.fixture(scope="module")
def fitted() -> LinearSDEForecaster:
    return LinearSDEForecaster(components=["level", CHANGES], random_state=0).fit(DATA)


@pytest.mark.slow
def test_steps_and_kinks_are_learned_and_go_on_in_the_forecast(fitted: LinearSDEForecaster) -> None:
    np.testing.assert_allclose(fitted.predict(times=[10.5, 11.0]), 3.0 - 0.8 * np.array([3.5, 4.0]), atol=0.25)
    plain = LinearSDEForecaster(components=["level"], random_state=0).fit(DATA)
    width = [np.diff(one.predict_interval(times=[10.5], level=80).to_numpy()[0, 1:])[0] for one in (fitted, plain)]
    assert width[0] < 0.5 * width[1]


def test_changepoints_are_part_of_the_trend(fitted: LinearSDEForecaster) -> None:
    parts = fitted.decompose(times=[3.9, 4.0, 9.0, 12.0])
    assert "y-regressors" not in parts
    assert parts["y-trend"].iloc[1] - parts["y-trend"].iloc[0] == pytest.approx(3.0, abs=0.2)
    np.testing.assert_allclose(parts["y-trend"], parts["y-fit"], rtol=1e-10)


def test_changepoints_are_kept_in_a_file(fitted: LinearSDEForecaster, tmp_path) -> None:
    fitted.save(tmp_path / "model")
    loaded = LinearSDEForecaster.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(times=[11.0]), fitted.predict(times=[11.0]))


def test_changepoints_stand_beside_covariates() -> None:
    wave = pd.DataFrame({"u": np.sin(3.0 * np.linspace(0.0, 12.0, 200))}, index=np.linspace(0.0, 12.0, 200))
    data = DATA + 2.0 * np.sin(3.0 * TIMES)
    forecaster = LinearSDEForecaster(components=["level", CHANGES], random_state=0).fit(data, known=wave)
    parts = forecaster.decompose(times=[10.2, 11.0])
    np.testing.assert_allclose(np.diff(parts["y-regressors"]), 2.0 * np.diff(np.sin([30.6, 33.0])), rtol=0.1)
    np.testing.assert_allclose(parts["y-trend"] + parts["y-regressors"], parts["y-fit"], rtol=1e-10)


@pytest.mark.parametrize("time", ["2024-01-25", pd.Timestamp("2024-01-25"), np.datetime64("2024-01-25", "ns")])
def test_dates_of_changepoints_may_be_strings_or_timestamps(time: object) -> None:
    index = pd.date_range("2024-01-01", periods=60, freq="D", tz="Europe/Paris")
    data = pd.Series(np.where(np.arange(60) >= 24, 2.0, 0.0) + 0.05 * np.random.default_rng(0).normal(size=60), index)
    forecaster = LinearSDEForecaster(components=["level", part("changepoints", times=[time])], random_state=0)
    trend = forecaster.fit(data).decompose(times=index[[23, 24]]).iloc[:, 0]
    assert trend.iloc[1] - trend.iloc[0] == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize(
    ("components", "message"),
    [
        (["level", part("changepoints", times=[12.0])], "changepoint 12.0 in components= does not lie within the data"),
        (["level", part("changepoints", times=[0.0])], "changepoint 0.0 in components= does not lie within the data"),
        (["level", "changepoints"], "needs times"),
        ([CHANGES], "give one beside them"),
        (["level", part("changepoints", time=[1.0])], "Did you mean 'times'"),
        (["level", part("changepoints", times=["2024-01-01"])], "numbers as times"),
    ],
)
def test_changepoints_that_make_no_sense_are_refused_by_name(components: list[object], message: str) -> None:
    with pytest.raises((DataError, ParameterError, ValueError), match=message):
        LinearSDEForecaster(components=components).fit(DATA)


def test_a_frozen_season_keeps_its_shape_and_a_quasi_periodic_one_forgets_it() -> None:
    rng = np.random.default_rng(0)
    data = pd.Series(np.sin(2.0 * np.pi * TIMES) + 0.3 * rng.normal(size=60), index=TIMES, name="y")
    season = part("season", period=1.0, n_harmonics=2, frozen=True)
    frozen = LinearSDEForecaster(components=["level", season], random_state=0).fit(data)
    assert ("y", "season", "drift") not in frozen.summary().index
    far = frozen.decompose(times=[20.25, 20.75, 1e4 + 0.25])["y-season"]
    np.testing.assert_allclose(far, [1.0, -1.0, 1.0], atol=0.3)
    quasi = part("quasi_season", period=1.0, n_harmonics=2)
    fading = LinearSDEForecaster(components=["level", quasi], random_state=0).fit(data)
    near, later = fading.decompose(times=[10.25, 1e6 + 0.25])["y-quasi_season"]
    assert near > 0.5
    assert abs(later) < 0.05
    assert fading.summary().loc[("y", "quasi_season", "time"), "unit"] == "time"

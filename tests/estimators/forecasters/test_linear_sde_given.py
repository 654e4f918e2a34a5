import numpy as np
import pandas as pd
import pytest

from tsode import LinearSDEForecaster
from tsode.errors import DataError, ParameterError

OU = {
    "drift": [[-0.8]],
    "offset": [0.4],
    "diffusion": [[0.6]],
    "readout": [[1.0]],
    "noise": [0.3],
}
SERIES = pd.Series([1.2, 0.7, -0.1, 0.3, 1.1, 0.4], index=[0.0, 0.4, 1.5, 1.6, 4.0, 7.25], name="y")


@pytest.fixture(scope="module")
def forecaster() -> LinearSDEForecaster:
    return LinearSDEForecaster(system=OU).fit(SERIES)


def test_given_matrices_give_the_exact_kalman_answers(forecaster):
    """Stationary OU, speed .8, level .5, seen with noise .3."""
    assert forecaster.log_likelihood().iloc[0] == pytest.approx(-4.00786448621965, abs=1e-9)
    now = forecaster.predict_state(times=[7.25], given="present")
    assert now["state-0"].iloc[0] == pytest.approx(0.437478329971, abs=1e-9)
    smoothed = forecaster.predict_state(times=[0.0], given="all")
    assert smoothed["state-0"].iloc[0] == pytest.approx(0.950334761978, abs=1e-9)
    ahead = forecaster.predict_state(times=[8.25])
    assert ahead["state-0"].iloc[0] == pytest.approx(0.471907202771, abs=1e-9)
    assert ahead["state-0-sd"].iloc[0] ** 2 == pytest.approx(0.192537662456, abs=1e-9)


def test_the_observation_is_wider_than_the_state_by_its_noise(forecaster):
    bands = forecaster.predict_interval(times=[8.25], level=90)
    half = (bands["y-hi-90"] - bands["y-lo-90"]).iloc[0] / 2.0
    assert half == pytest.approx(1.6448536269514722 * np.sqrt(0.192537662456 + 0.09), abs=1e-8)


def test_given_matrices_survive_a_file(forecaster, tmp_path):
    forecaster.save(tmp_path / "ou.tsode")
    again = LinearSDEForecaster.load(tmp_path / "ou.tsode")
    pd.testing.assert_series_equal(again.log_likelihood(), forecaster.log_likelihood())


def test_likelihood_of_a_fitted_system_is_in_the_units_of_the_data():
    """Ten times larger values have a density ten times smaller, six times over."""
    one = LinearSDEForecaster(max_epochs=1, random_state=0).fit(SERIES)
    ten = LinearSDEForecaster(max_epochs=1, random_state=0).fit(10.0 * SERIES)
    difference = one.log_likelihood().iloc[0] - ten.log_likelihood().iloc[0]
    assert difference == pytest.approx(6.0 * np.log(10.0), abs=1e-6)


def test_matrices_that_do_not_fit_are_refused_by_name():
    with pytest.raises(ParameterError, match=r"system= needs drift, diffusion, readout and noise"):
        LinearSDEForecaster(system={"drift": [[-1.0]]}).fit(SERIES)
    with pytest.raises(DataError, match="the data have 2: choose"):
        LinearSDEForecaster(system=OU).fit(pd.DataFrame({"a": SERIES, "b": SERIES}))
    dated = pd.Series([1.0, 2.0], index=pd.to_datetime(["2024-01-01", "2024-01-02"]))
    with pytest.raises(ParameterError, match="pass time_unit='1h'"):
        LinearSDEForecaster(system=OU).fit(dated)
    with pytest.raises(ParameterError, match="nothing may be scaled"):
        LinearSDEForecaster(system=OU, scale="robust").fit(SERIES)

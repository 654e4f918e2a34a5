import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from tsode import LinearSDEForecaster
from tsode.errors import DataError, ParameterError


def waves(n_series, n_times=24, seed=0):
    """Noisy sines of one period (5), each with its own phase, at random times; the last value is half a period on."""
    rng = np.random.default_rng(seed)
    frames = []
    for name in range(n_series):
        times = np.append(np.sort(rng.uniform(0.0, 15.0, n_times - 1)), 17.5)
        values = 20.0 + 3.0 * np.sin(2 * np.pi * times / 5.0 + rng.uniform(0, 6)) + 0.3 * rng.normal(size=n_times)
        frames.append(pd.DataFrame({"unique_id": name, "ds": times, "y": values}))
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def fitted():
    frame = waves(12, n_times=20)
    return LinearSDEForecaster(horizon=5.0, max_epochs=8, random_state=0).fit(frame[frame["ds"] < 16.0])


@pytest.mark.slow
def test_forecast_of_a_wave_half_a_period_ahead_errs_by_its_noise(fitted):
    frame = waves(12, n_times=20)
    error = np.sqrt(-fitted.score(frame[frame["ds"] > 16.0], metric="mse"))
    assert error < 2 * 0.3  # the waves' own spread is 2.1


@pytest.mark.slow
def test_imputation_uses_what_came_later(fitted):
    walk = pd.DataFrame({"unique_id": "new", "ds": [0.0, 0.1, 0.2], "y": [20.0, np.nan, 23.0]})
    filled = fitted.impute(walk)["y"]
    assert 20.5 < filled[1] < 23.0
    assert filled[[0, 2]].tolist() == [20.0, 23.0]


def test_bands_of_filled_values_are_those_of_the_conditional_normal_law():
    times, values = np.array([0.0, 0.4, 1.0, 1.7, 2.5]), np.array([0.8, np.nan, -0.3, np.nan, 0.5])
    rate, noise = 1.3, 0.2  # a stationary Ornstein-Uhlenbeck process of unit variance
    system = {"drift": [[-rate]], "diffusion": [[(2 * rate) ** 0.5]], "readout": [[1.0]], "noise": [noise]}
    frame = pd.DataFrame({"ds": times, "y": values})
    known = LinearSDEForecaster(system=system, scale="none", horizon=1.0, dtype="float64").fit(frame)
    bands = known.impute(frame, level=[50, 90])

    joint = np.exp(-rate * np.abs(times[:, None] - times)) + noise**2 * np.eye(5)
    gap = np.isnan(values)
    gain = joint[np.ix_(gap, ~gap)] @ np.linalg.inv(joint[np.ix_(~gap, ~gap)])
    mean = gain @ values[~gap]
    sd = np.sqrt(np.diag(joint[np.ix_(gap, gap)] - gain @ joint[np.ix_(~gap, gap)]))
    np.testing.assert_allclose(bands["y"][gap], mean, rtol=1e-10)
    for share in (50, 90):
        reach = norm.ppf(0.5 + share / 200) * sd
        np.testing.assert_allclose(bands[f"y-lo-{share}"][gap], mean - reach, rtol=1e-8)
        np.testing.assert_allclose(bands[f"y-hi-{share}"][gap], mean + reach, rtol=1e-8)
        assert bands[f"y-lo-{share}"][~gap].tolist() == bands[f"y-hi-{share}"][~gap].tolist() == [0.8, -0.3, 0.5]


def test_one_series_longer_than_a_piece_is_cut_and_validated_on_its_end():
    fitted = LinearSDEForecaster(2, max_context=16, max_epochs=1, random_state=0).fit(waves(1, n_times=50))
    assert np.isfinite(fitted.history_["valid_loss"]).all()
    assert np.isfinite(fitted.predict(horizon=[1.0])["y"]).all()


def test_error_of_series_with_one_time_says_what_to_use():
    frame = pd.DataFrame({"unique_id": [0, 1], "ds": [0.0, 1.0], "y": [1.0, 2.0]})
    with pytest.raises(DataError, match="LastValueForecaster or ConstantForecaster"):
        LinearSDEForecaster(random_state=0).fit(frame)


@pytest.mark.parametrize("wrong", [{"n_state": 0}, {"max_epochs": 0}, {"learning_rate": 0.0}, {"batch_size": 2.5}])
def test_error_of_a_parameter_out_of_range_names_it(wrong):
    (name,) = wrong
    with pytest.raises(ParameterError, match=name):
        LinearSDEForecaster(**wrong).fit(waves(2))


RATE, NOISE = 0.7, 0.3
KNOWN_START = {
    "drift": [[-RATE]], "diffusion": [[0.5]], "readout": [[1.0]], "noise": [NOISE], "initial_mean": [4.0],
    "initial_cov": [[0.0]],
}  # fmt: skip


def start_from_four(elapsed):
    """Mean and variance of the process that is 4 at time 0."""
    return 4.0 * np.exp(-RATE * elapsed), 0.25 * (1.0 - np.exp(-2 * RATE * elapsed)) / (2 * RATE)


@pytest.mark.parametrize("blank_row", [False, True])
def test_a_known_system_starts_at_its_initial_time_and_not_when_it_is_first_observed(blank_row, tmp_path):
    frame = pd.DataFrame({"ds": [10.0] * blank_row + [12.5], "y": [np.nan] * blank_row + [1.1]})
    made = LinearSDEForecaster(system=KNOWN_START, initial_time=10.0).fit(frame)
    mean, variance = start_from_four(2.5)
    assert made.log_likelihood().item() == pytest.approx(
        norm.logpdf(1.1, mean, (variance + NOISE**2) ** 0.5), rel=1e-12
    )
    gain = variance / (variance + NOISE**2)
    ahead = (mean + gain * (1.1 - mean)) * np.exp(-RATE * 1.5)
    made.save(tmp_path / "model.tsode")
    for forecaster in (made, LinearSDEForecaster.load(tmp_path / "model.tsode")):
        assert forecaster.predict(horizon=[1.5])["y"].item() == pytest.approx(ahead, rel=1e-12)
        before = forecaster.predict(times=[11.0])["y"].item()
        assert before == pytest.approx(start_from_four(1.0)[0], rel=1e-12)
    late = LinearSDEForecaster(system=KNOWN_START).fit(frame)
    assert late.predict(horizon=[1.5])["y"].item() != pytest.approx(ahead, rel=0.1)


def test_the_initial_time_is_a_time_of_the_data():
    dates = pd.Series([1.1], index=pd.DatetimeIndex(["2024-01-01 02:30"], tz="Europe/Berlin"))
    made = LinearSDEForecaster(system=KNOWN_START, time_unit="1h", initial_time="2024-01-01 00:00").fit(dates)
    mean, variance = start_from_four(2.5)
    assert made.log_likelihood().item() == pytest.approx(norm.logpdf(1.1, mean, (variance + NOISE**2) ** 0.5), rel=1e-9)
    with pytest.raises(DataError, match="before the initial time"):
        LinearSDEForecaster(system=KNOWN_START, time_unit="1h", initial_time="2024-01-02").fit(dates).predict()
    with pytest.raises(ParameterError, match="give system= too"):
        LinearSDEForecaster(initial_time=0.0).fit(waves(2))

"""Outliers and shifts of level in forecasts by structural components, and their diagnosis."""

import numpy as np
import pandas as pd
import pytest

from tsode import LinearSDEForecaster
from tsode.errors import ParameterError

NOISE = 0.2
AHEAD = [10.2, 11.0]


def _series(n: int = 80, seed: int = 0) -> pd.Series:
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0.0, 10.0, n))
    return pd.Series(3.0 + np.sin(0.6 * times) + NOISE * rng.normal(size=n), index=times, name="y")


def _forecaster(**settings: object) -> LinearSDEForecaster:
    return LinearSDEForecaster(components=["level"], random_state=0, **({"robust": True} | settings))


def _spread(fitted: LinearSDEForecaster, times: list[float]) -> np.ndarray:
    return fitted.predict_spread(times=times)["y-sd"].to_numpy()


@pytest.fixture(scope="module")
def clean() -> LinearSDEForecaster:
    return _forecaster().fit(_series())


def test_clean_series_are_forecast_to_the_bit_as_without(clean: LinearSDEForecaster) -> None:
    plain = _forecaster(robust=False).fit(_series())
    pd.testing.assert_frame_equal(
        clean.predict_interval(times=AHEAD, level=90), plain.predict_interval(times=AHEAD, level=90), check_exact=True
    )


@pytest.mark.slow
def test_outliers_move_the_forecast_by_less_than_a_fifth_of_its_spread(clean: LinearSDEForecaster) -> None:
    rng = np.random.default_rng(5)
    data = _series()
    data.iloc[rng.choice(len(data), 4, replace=False)] += 20.0 * NOISE * np.array([1.0, -1.0, 1.0, 1.0])
    fitted = _forecaster().fit(data)
    moved = fitted.predict(times=AHEAD) - clean.predict(times=AHEAD)
    spread = _spread(clean, AHEAD)
    assert (np.abs(moved.to_numpy().squeeze()) < 0.2 * spread).all()
    np.testing.assert_allclose(_spread(fitted, AHEAD), spread, rtol=0.2)
    plain = _forecaster(robust=False).fit(data)
    assert (_spread(plain, AHEAD) > 2.0 * spread).all()


def test_a_last_value_far_off_hardly_counts_and_a_new_level_counts_after_five(clean: LinearSDEForecaster) -> None:
    data = _series()
    expected, spread = clean.predict(times=[10.2]).to_numpy().item(), _spread(clean, [10.2]).item()
    for n, shift in ((1, 0.0), (5, 20.0 * NOISE)):
        moved = data.copy()
        moved.iloc[-n:] += 20.0 * NOISE
        found = clean.predict(times=[10.2], context=moved).to_numpy().item()
        assert abs(found - expected - shift) < (0.3 if n == 1 else 1.5) * spread


def test_one_value_more_is_what_a_forecast_from_it_alone_says(clean: LinearSDEForecaster) -> None:
    data = _series()
    data.iloc[60] += 5.0
    data.iloc[70:] += 4.0
    times = data.index[58:78]
    together = clean.predict_quantiles(times=times, context=data, quantiles=[0.1, 0.9]).to_numpy()
    for k, time in enumerate(times):
        before = clean.predict_quantiles(times=[time], context=data[data.index < time], quantiles=[0.1, 0.9])
        np.testing.assert_array_equal(before.to_numpy()[0], together[k])


def test_decomposition_steps_with_the_level_and_passes_by_an_outlier(clean: LinearSDEForecaster) -> None:
    data = _series()
    plain = clean.decompose()["y-fit"].to_numpy()
    data.iloc[30] += 5.0
    data.iloc[60:] += 4.0
    fit = clean.decompose(context=data)["y-fit"].to_numpy()
    assert abs(fit[30] - plain[30]) < NOISE
    assert abs(fit[70] - plain[70] - 4.0) < 2.0 * NOISE


def test_outliers_and_shifts_are_listed_with_their_times() -> None:
    data = _series()
    data.iloc[30] += 5.0
    data.iloc[60:] += 4.0
    fitted = _forecaster().fit(data)
    found = fitted.outliers_
    assert found["kind"].tolist() == ["outlier", "shift"]
    np.testing.assert_array_equal(found["time"], data.index[[30, 60]])
    np.testing.assert_array_equal(found["value"], data.iloc[[30, 60]])
    assert (found["error"] > 4.0).all()
    counts = fitted.diagnose().loc[(0, "y")]
    assert (counts["n_outliers"], counts["n_shifts"], counts["n"]) == (1, 1, 79)


def test_what_a_model_leaves_is_diagnosed_by_series_and_channel(clean: LinearSDEForecaster) -> None:
    found = clean.diagnose()
    assert found.index.names == ["series", "channel"]
    assert found.index.tolist() == [(0, "y")]
    assert found["whiteness"].item() > 0.05
    assert found["normality"].item() > 0.01
    assert found["spread"].item() == pytest.approx(1.0, abs=0.2)
    assert clean.outliers_.empty
    wave = _series(200)
    wave += 0.8 * np.sin(5.0 * wave.index.to_numpy())
    assert clean.diagnose(context=wave)["whiteness"].item() < 0.01


def test_diagnosis_needs_components() -> None:
    forecaster = LinearSDEForecaster(max_epochs=1, random_state=0).fit(_series(10))
    with pytest.raises(ParameterError, match=r"diagnose is of structural components"):
        forecaster.diagnose()


def test_robust_is_true_false_or_none() -> None:
    with pytest.raises(ParameterError, match="robust must be"):
        _forecaster(robust="yes").fit(_series())


def test_what_stands_out_is_doubted_by_a_loaded_forecaster_too(clean: LinearSDEForecaster, tmp_path) -> None:
    data = _series()
    data.iloc[-1] += 5.0
    path = tmp_path / "model.safetensors"
    clean.save(path)
    loaded = LinearSDEForecaster.load(path)
    np.testing.assert_array_equal(loaded.predict(times=AHEAD, context=data), clean.predict(times=AHEAD, context=data))


def test_series_with_parameters_of_their_own_doubt_their_outliers() -> None:
    series = {f"s{k}": _series(40, seed=k) for k in range(3)}

    def frame(parts: dict[str, pd.Series]) -> pd.DataFrame:
        each = [pd.DataFrame({"unique_id": key, "ds": x.index, "y": x.to_numpy()}) for key, x in parts.items()]
        return pd.concat(each, ignore_index=True)

    fitted = _forecaster(per_series=True).fit(frame(series))
    moved = {key: x.copy() for key, x in series.items()}
    moved["s1"].iloc[20] += 5.0
    ask = {"times": [10.5], "level": 90}
    one, other = (fitted.predict_interval(context=frame(x), **ask).set_index("unique_id") for x in (series, moved))
    assert abs(other.loc["s1", "y"] - one.loc["s1", "y"]) < 0.5 * NOISE
    width = [x.loc["s1", "y-hi-90"] - x.loc["s1", "y-lo-90"] for x in (one, other)]
    assert width[1] < 1.3 * width[0]

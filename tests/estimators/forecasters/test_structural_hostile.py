"""Structural components and hostile data: a finite forecast of the right size, or an error by name."""

import warnings

import numpy as np
import pandas as pd
import pytest

from tsode import LinearSDEForecaster, part
from tsode.errors import TsodeWarning

RNG = np.random.default_rng(0)
WALK = 3.0 + RNG.normal(size=30).cumsum()
EVEN = np.arange(30.0)
ALL_BUT_ONE = np.where(EVEN == 17.0, 9.0, 5.0)
NAMED = ["slope", "ou", part("season", period=4.0)]


def _fit(values: object, times: object = None, components: object = NAMED, **settings: object) -> LinearSDEForecaster:
    values = np.asarray(values, dtype=np.float64)
    data = pd.Series(values, index=EVEN[: len(values)] if times is None else np.asarray(times), name="y")
    return LinearSDEForecaster(components=components, random_state=0, **settings).fit(data)


def _check_finite(forecaster: LinearSDEForecaster, times: list[float]) -> np.ndarray:
    """Quantiles; everything that can be asked is finite."""
    quantiles = forecaster.predict_quantiles(times=times, quantiles=[0.05, 0.5, 0.95]).to_numpy()
    for answer in (quantiles, forecaster.predict(times=times), forecaster.decompose(times=times)):
        assert np.isfinite(np.asarray(answer)).all()
    assert np.isfinite(forecaster.sample(times=times, n_samples=3, random_state=0)["y"]).all()
    forecaster.summary()
    return quantiles


@pytest.mark.parametrize(
    "components", ["auto", NAMED, ["damped_slope", "carma", part("cycle", period=5.0)]], ids=["auto", "named", "more"]
)
@pytest.mark.parametrize("n", [1, 3])
def test_fewer_values_than_parameters_are_forecast_by_a_level_with_a_warning(n: int, components: object) -> None:
    times = np.arange(n) * 5.0
    with pytest.warns(TsodeWarning, match=f"'y' has {n} observed values?, fewer than .* a level and noise alone"):
        forecaster = _fit([3.0, 4.0, 3.5][:n], times, components)
    assert forecaster.components_ == {"y": ["level"]}
    assert np.abs(_check_finite(forecaster, [20.0, 21.0])[:, 1] - 3.5).max() < 0.6


@pytest.mark.parametrize(
    ("value", "components"), [(7.0, NAMED), (0.0, NAMED), (1e300, NAMED), (-1e-300, NAMED), (0.1 + 0.2, "auto")]
)
def test_a_constant_series_is_forecast_to_stay_whatever_its_size(value: float, components: object) -> None:
    quantiles = _check_finite(_fit(np.full(12, value), components=components), [12.0, 20.0])
    np.testing.assert_allclose(quantiles, value, rtol=0.01, atol=0.0 if value else 0.1)


@pytest.mark.parametrize("size", [1e-300, 1e299])
def test_huge_and_tiny_units_change_nothing(size: float) -> None:
    wanted = _check_finite(_fit(WALK), [30.0, 40.0])
    np.testing.assert_allclose(_check_finite(_fit(WALK * size), [30.0, 40.0]) / size, wanted, rtol=1e-4)


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_huge_and_tiny_units_of_time_change_nothing(unit: float) -> None:
    wanted = _check_finite(_fit(WALK, components=["slope", "ou"]), [30.0, 40.0])
    scaled = _fit(WALK, EVEN * unit, components=["slope", "ou"])
    np.testing.assert_allclose(_check_finite(scaled, [30.0 * unit, 40.0 * unit]), wanted, rtol=1e-4)


def test_far_from_zero_in_time_the_forecast_is_the_same() -> None:
    wanted = _check_finite(_fit(WALK), [30.0, 40.0])
    other = _fit(WALK, 1e9 + 2.0**-10 * EVEN, ["slope", "ou", part("season", period=2.0**-8)])
    found = _check_finite(other, [1e9 + 30.0 * 2.0**-10, 1e9 + 40.0 * 2.0**-10])
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("components", [["level"], ["level", "slope", "ou"]], ids="+".join)
def test_across_a_gap_of_a_billion_medians_near_forecasts_are_near(components: object) -> None:
    times = np.concatenate([EVEN[:15], 1e9 + EVEN[:15]])
    quantiles = _check_finite(_fit(WALK, times, components), [1e9 + 15.0])
    assert np.abs(quantiles - WALK[-1]).max() < 10.0


@pytest.mark.parametrize("components", [["level"], ["level", "ou"]], ids="+".join)
def test_where_nearly_all_values_are_one_the_bands_know_of_the_other(components: object) -> None:
    low, middle, high = _check_finite(_fit(ALL_BUT_ONE, components=components), [30.0])[0]
    assert 4.5 < middle < 5.5
    assert 0.5 < high - low < 6.0
    zeros = np.where(np.isin(EVEN, [2.0, 9.0, 11.0, 23.0]), 1.5, 0.0)
    low, middle, high = _check_finite(_fit(zeros, components=components), [30.0])[0]
    assert -0.5 < middle < 0.7
    assert 0.5 < high - low < 4.0


@pytest.mark.slow
@pytest.mark.parametrize("per_series", [False, True])
def test_panels_of_very_different_series_are_forecast(per_series: bool) -> None:
    rng = np.random.default_rng(1)
    lengths = [40, 1, 2, 12, 0, 25]
    frame = pd.concat(
        [
            pd.DataFrame({
                "unique_id": f"s{k}", "ds": np.sort(rng.uniform(0.0, 10.0, max(n, 1))),
                "a": rng.normal(size=max(n, 1)) if n else np.nan, "b": np.nan,
            })
            for k, n in enumerate(lengths)
        ],
        ignore_index=True,
    )  # fmt: skip
    frame.loc[[3, 9, 50], "b"] = [1.0, 2.0, 3.0]  # hardly observed
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        forecaster = LinearSDEForecaster(components=["level", "ou"], per_series=per_series, random_state=0).fit(frame)
    assert [("'b' has 3" in str(one.message)) for one in caught] == [True]
    answer = forecaster.predict_interval(times=[10.5, 30.0], level=80)
    assert np.isfinite(answer.iloc[:, 2:].to_numpy()).all()
    assert answer["unique_id"].nunique() == 6
    context = pd.DataFrame({"unique_id": ["new"], "ds": [3.0], "a": [np.nan], "b": [np.nan]})
    empty = forecaster.predict_interval(times={"new": [4.0]}, context=context, level=80)
    assert np.isfinite(empty.iloc[:, 2:].to_numpy()).all()

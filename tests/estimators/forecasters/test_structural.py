"""Structural components of the linear SDE: what is found, said, and refused."""

import numpy as np
import pandas as pd
import pytest

from tsode import LinearSDEForecaster, part
from tsode.errors import DataError, ParameterError
from tsode.testing import check_forecaster


def _series(n: int = 60, seed: int = 0, slope: float = 0.5, season: float = 1.0, noise: float = 0.2) -> pd.Series:
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0.0, 10.0, n))
    values = 3.0 + slope * times + season * np.sin(2.0 * np.pi * times) + noise * rng.normal(size=n)
    return pd.Series(values, index=times, name="y")


@pytest.fixture(scope="module")
def fitted() -> LinearSDEForecaster:
    return LinearSDEForecaster(components="auto", random_state=0).fit(_series())


@pytest.mark.slow
def test_automatic_components_find_trend_and_season(fitted: LinearSDEForecaster) -> None:
    assert {"slope", "unit"} <= set(fitted.components_["y"]) or {"damped_slope", "unit"} <= set(fitted.components_["y"])
    times = np.array([10.25, 10.75, 11.25, 12.0])
    truth = 3.0 + 0.5 * times + np.sin(2.0 * np.pi * times)
    np.testing.assert_allclose(fitted.predict(times=times), truth, atol=0.4)
    bands = fitted.predict_interval(times=times, level=95)
    assert ((bands["y-lo-95"] < truth) & (truth < bands["y-hi-95"])).all()


def test_parts_of_a_decomposition_add_up_to_the_fit_and_ahead_to_the_forecast(fitted: LinearSDEForecaster) -> None:
    times = [0.5, 3.3, 10.25, 14.0]
    parts = fitted.decompose(times=times, level=[50, 90])
    names = ["y-trend", "y-unit", "y-rest"]
    np.testing.assert_allclose(parts[names].sum(axis=1), parts["y-fit"], rtol=1e-10)
    np.testing.assert_allclose(parts["y-fit"].iloc[2:], fitted.predict(times=times[2:]), rtol=1e-9)
    assert (parts["y-trend-lo-90"] < parts["y-trend-lo-50"]).all()
    own = fitted.decompose()
    assert len(own) == 60
    assert np.isfinite(own.to_numpy()).all()


def test_what_is_decomposed_is_the_smoothed_value(fitted: LinearSDEForecaster) -> None:
    data = _series()
    with_gap = data.copy()
    with_gap.iloc[30:35] = np.nan
    filled = fitted.impute(with_gap)
    parts = fitted.decompose(times=data.index[30:35], context=with_gap.dropna())
    np.testing.assert_allclose(filled.iloc[30:35], parts["y-fit"], rtol=1e-9)


@pytest.mark.slow
def test_white_noise_gets_no_season_and_no_slope() -> None:
    found = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        noise = pd.Series(rng.normal(size=80), index=np.arange(80) / 8.0, name="y")
        found += LinearSDEForecaster(components="auto", random_state=0).fit(noise).components_["y"]
    assert not {"unit", "slope", "damped_slope"} & set(found)


@pytest.mark.parametrize(("factor", "stretch"), [(1e-6, 1.0), (1e6, 3600.0)])
def test_the_fit_does_not_depend_on_units(factor: float, stretch: float) -> None:
    names = ["slope", "ou", part("season", period=stretch)]
    data = _series()
    other = pd.Series(data.to_numpy() * factor, index=data.index * stretch, name="y")
    one = LinearSDEForecaster(components=["slope", "ou", part("season", period=1.0)], random_state=0).fit(data)
    two = LinearSDEForecaster(components=names, random_state=0).fit(other)
    np.testing.assert_allclose(
        two.predict(times=[10.5 * stretch, 12.0 * stretch]), factor * one.predict(times=[10.5, 12.0]), rtol=1e-4
    )


def test_positive_quantities_stay_positive_however_far_ahead() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(100) / 10.0
    values = np.exp(0.3 * np.sin(2 * np.pi * times) - 0.2 * times + 0.3 * rng.normal(size=100))
    data = pd.Series(values, index=times, name="y")
    forecaster = LinearSDEForecaster(components=["slope", "ou"], support="positive", random_state=0).fit(data)
    assert forecaster.transforms_["y"] == "log"
    ahead = [10.5, 20.0, 200.0]
    quantiles = forecaster.predict_quantiles(times=ahead, quantiles=[0.001, 0.5, 0.999])
    assert (quantiles > 0.0).all(axis=None) or (quantiles >= 0.0).all(axis=None)
    assert (forecaster.predict(times=ahead) >= 0.0).all()
    assert (forecaster.sample(times=ahead, n_samples=50, random_state=0)["y"] >= 0.0).all()


def test_values_below_zero_are_refused_where_support_is_positive() -> None:
    data = _series() - 5.0
    with pytest.raises(DataError, match=r"'y' has the value .* support='positive'"):
        LinearSDEForecaster(components=["level"], support="positive").fit(data)


def test_an_effect_of_a_covariate_is_found() -> None:
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0.0, 10.0, 150))
    grid = np.linspace(0.0, 15.0, 800)
    known = pd.DataFrame({"u": np.sin(7.0 * grid)}, index=grid)
    values = 2.0 * np.sin(7.0 * times) + 0.1 * rng.normal(size=150).cumsum() + 0.1 * rng.normal(size=150)
    data = pd.Series(values, index=times, name="y")
    forecaster = LinearSDEForecaster(components=["level"], random_state=0).fit(data, known=known)
    ahead = np.array([10.2, 10.6])
    parts = forecaster.decompose(times=ahead)
    np.testing.assert_allclose(parts["y-regressors"].diff().iloc[1], 2.0 * np.diff(np.sin(7.0 * ahead))[0], rtol=0.1)
    effect = forecaster.summary().loc[("y", "regressors", "u")]
    assert abs(effect["median"] - 2.0) < 3.0 * effect["se"] < 0.3


def test_update_goes_on_as_if_all_had_been_there(fitted: LinearSDEForecaster) -> None:
    data = _series()
    whole = fitted.with_history(data)
    grown = fitted.with_history(data.iloc[:40]).update(data.iloc[40:])
    np.testing.assert_allclose(grown.predict(times=[11.0]), whole.predict(times=[11.0]), rtol=1e-9)


@pytest.mark.slow
def test_calendar_seasons_are_found_in_datetimes() -> None:
    rng = np.random.default_rng(0)
    index = pd.date_range("2024-01-01", periods=200, freq="3h")[np.sort(rng.choice(200, 160, replace=False))]
    hours = (index - index[0]).total_seconds() / 3600.0
    data = pd.Series(np.sin(2 * np.pi * hours / 24.0) + 0.2 * rng.normal(size=160), index=index, name="y")
    forecaster = LinearSDEForecaster(components="auto", random_state=0).fit(data)
    assert "day" in forecaster.components_["y"]
    named = LinearSDEForecaster(components=["level", part("season", period="1D", n_harmonics=2)]).fit(data)
    assert "y-season" in named.decompose().columns


def test_summary_has_the_data_units(fitted: LinearSDEForecaster) -> None:
    summary = fitted.summary()
    noise = summary.loc[("y", "noise", "variance")]
    assert noise["lo-80"] < 0.04 < noise["hi-80"] or noise["median"] == pytest.approx(0.04, rel=0.5)
    assert (summary["lo-80"] <= summary["median"]).all()
    assert (summary["median"] <= summary["hi-80"]).all()
    assert sum(fitted.weights_["y"].values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("components", "message"),
    [
        ("slope", "must be None, 'auto', or a list"),
        (["slop"], "Did you mean 'slope'"),
        (["level", "level"], "twice, which cannot be told apart"),
        ([part("season", period=1.0), part("season", period=1.0)], "twice, which cannot be told apart"),
        (["slope", "damped_slope"], "a slope twice, which cannot be told apart"),
        (
            [part("season", period=2.0, n_harmonics=6), part("season", period=1.0, n_harmonics=6)],
            r"Harmonic 2 of a season .* harmonic 1 of another.* n_harmonics=1",
        ),
        ([part("level", width=3)], "not a known setting of component 'level'"),
        ([part("season", period=-1.0)], "period"),
        ([part("season", period=1.0, n_harmonics=-1)], "n_harmonics=-1 of component 'season' must be at least 1"),
        ([part("season", period=1.0, period_sd=-1.0)], "period_sd=-1.0 of component 'season' must not be negative"),
        ([part("cycle", period=1.0, period_sd=0.0)], "period_sd=0.0 of component 'cycle' must be positive"),
    ],
)
def test_components_that_make_no_sense_are_refused_by_name(components: object, message: str) -> None:
    with pytest.raises((ParameterError, ValueError), match=message):
        LinearSDEForecaster(components=components).fit(_series(30))


@pytest.mark.parametrize("name", ["fit", "trend", "rest", "regressors", "noise"])
def test_a_component_named_as_something_else_is_refused(name: str) -> None:
    with pytest.raises(ParameterError, match=r"components\[1\].* a name that means something else"):
        LinearSDEForecaster(components=["level", part("season", period=1.0, name=name)]).fit(_series(30))


def test_a_season_without_a_period_takes_one_that_the_data_show() -> None:
    index = pd.date_range("2020-01-01", periods=80, freq="14D")
    values = np.sin(2.0 * np.pi * np.arange(80) * 14.0 / 365.2425)
    forecaster = LinearSDEForecaster(components=["level", part("season", n_harmonics=1)], random_state=0)
    parts = forecaster.fit(pd.Series(values, index=index, name="y")).decompose()
    np.testing.assert_allclose(parts["y-season"], values, atol=0.1)
    half = pd.Series(values[:20], index=index[:20], name="y")
    with pytest.raises(DataError, match=r"No period was found for components\[1\]"):
        forecaster.fit(half)


def test_past_covariates_are_refused_by_name() -> None:
    frame = _series(30).to_frame().assign(u=1.0)
    with pytest.raises(ParameterError, match="past_covariates="):
        LinearSDEForecaster(components=["level"], past_covariates=["u"]).fit(frame)


def test_a_decomposition_knows_the_covariates_of_a_history_that_is_given() -> None:
    data = _series(40)
    known = pd.DataFrame({"u": [0.0, 3.0, 0.0]}, index=[0.0, 6.0, 20.0])
    forecaster = LinearSDEForecaster(components=["level"], random_state=0).fit(data, known=known)
    other = forecaster.decompose(context=data.iloc[:30], known=known)
    asked = forecaster.decompose(times=data.index[:30], context=data.iloc[:30], known=known)
    np.testing.assert_allclose(other, asked, rtol=1e-9)
    at_rest = forecaster.decompose(context=data.iloc[:30], known=0.0 * known)
    assert (other["y-regressors"] - at_rest["y-regressors"]).abs().max() > 1e-3


def test_a_season_longer_than_the_data_is_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"components\[1\].*times as long as the data"):
        LinearSDEForecaster(components=["level", part("season", period=50.0)]).fit(_series(30))


def test_answers_about_components_need_components() -> None:
    plain = LinearSDEForecaster(max_epochs=1).fit(_series(30))
    for ask in (plain.decompose, plain.summary):
        with pytest.raises(ParameterError, match="components='auto'"):
            ask()


def test_components_and_a_known_system_exclude_each_other() -> None:
    with pytest.raises(ParameterError, match="two models"):
        LinearSDEForecaster(components="auto", system={}).fit(_series(30))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"robust": True}, {"per_series": True}], ids=str)
def test_forecaster_of_components_keeps_the_contract(settings: dict[str, bool]) -> None:
    check_forecaster(LinearSDEForecaster(components=["level", "ou"], random_state=0, **settings))


def test_a_few_observations_are_enough_for_a_forecast() -> None:
    forecaster = LinearSDEForecaster(components="auto", random_state=0).fit(_series(5))
    assert np.isfinite(forecaster.predict_quantiles(times=[11.0, 50.0]).to_numpy()).all()


def test_a_constant_series_stays_constant() -> None:
    data = pd.Series(np.full(30, 7.0), index=np.arange(30.0), name="y")
    forecaster = LinearSDEForecaster(components="auto", random_state=0).fit(data)
    np.testing.assert_allclose(forecaster.predict(times=[31.0, 60.0]), 7.0, atol=1e-3)


def test_the_period_of_a_season_is_in_the_data_own_time(fitted: LinearSDEForecaster) -> None:
    assert fitted.period_ == pytest.approx(1.0)
    index = pd.date_range("2024-01-01", periods=40, freq="6h")
    dated = pd.Series(np.sin(np.pi * np.arange(40) / 2.0) + 0.01 * np.arange(40), index=index, name="y")
    named = LinearSDEForecaster(components=["level", part("season", period="1D")]).fit(dated)
    assert pd.Timedelta(named.period_) == pd.Timedelta("1D")
    plain = LinearSDEForecaster(components=["level"]).fit(dated)
    assert not hasattr(plain, "period_")


def test_sharp_seasons_are_each_series_own() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for k in range(3):
        period, times = 0.4 + 0.1 * k, np.sort(rng.uniform(0.0, 40.0, 120))
        values = np.sin(2.0 * np.pi * times / period) + 0.05 * rng.normal(size=120)
        rows.append(pd.DataFrame({"unique_id": k, "ds": times, "y": values}))
    data = pd.concat(rows)
    given, later = data[data["ds"] < 25.0], data[data["ds"] >= 25.0]
    forecaster = LinearSDEForecaster(components=[part("sharp_season", n_harmonics=2, pooled=False)]).fit(given)
    assert forecaster.score(later, metric="mae") > -0.1
    with pytest.raises(ParameterError, match="a model of its own"):
        LinearSDEForecaster(components=["sharp_season", "level"]).fit(given)
    with pytest.raises(ParameterError, match="n_harmonics=0 of 'sharp_season'"):
        LinearSDEForecaster(components=[part("sharp_season", n_harmonics=0)]).fit(given)

"""Seasonal naive forecaster: its period, given or known of the data, in any kind of time, and its row in tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsode import LastValueForecaster, SeasonalNaiveForecaster
from tsode.backtest import score_table
from tsode.errors import ParameterError
from tsode.testing import example_panel

DAY, WEEK = np.timedelta64(1, "D"), np.timedelta64(7, "D")
YEAR = np.timedelta64(31_556_952, "s")


def dated(hours, values) -> pd.Series:
    return pd.Series(values, index=pd.Timestamp("2024-01-01") + pd.to_timedelta(hours, unit="h"), name="y")


def wave(period_in_hours, span_in_hours, n, seed=0) -> pd.Series:
    """A sine at random times."""
    hours = np.sort(np.random.default_rng(seed).choice(60 * span_in_hours, n, replace=False)) / 60.0
    return dated(hours, np.sin(2.0 * np.pi * hours / period_in_hours))


def test_the_forecast_is_what_was_seen_one_day_ago():
    series = dated([0.0, 6.0, 18.0, 30.0], [1.0, 4.0, 10.0, 0.0])
    made = SeasonalNaiveForecaster(period="1D").fit(series)
    assert made.period_ == DAY
    times = pd.Timestamp("2024-01-01") + pd.to_timedelta([36.0, 48.0, 54.0, 60.0], unit="h")
    # sources at 12 h, 24 h, 30 h, and two days before the last, 12 h
    assert made.predict(times=times).tolist() == pytest.approx([7.0, 5.0, 0.0, 7.0])


@pytest.mark.parametrize(
    ("period", "span", "n", "expected"),
    [(24, 30 * 24, 800, DAY), (168, 60 * 24, 800, WEEK), (24 * 365.2425, 4 * 8766, 1500, YEAR)],
    ids=["day", "week", "year"],
)
def test_the_period_of_the_calendar_that_errs_least_is_taken(period, span, n, expected):
    assert SeasonalNaiveForecaster().fit(wave(period, span, n)).period_ == expected


def test_a_period_is_known_if_it_is_spanned_twice_and_has_two_gaps():
    every = {"2 gaps": 12.0, "fewer": 12.5}
    fitted = {
        name: SeasonalNaiveForecaster().fit(dated(np.arange(0.0, 1000.0, gap), np.arange(len(np.arange(0, 1000, gap)))))
        for name, gap in every.items()
    }
    assert (fitted["2 gaps"].period_, fitted["fewer"].period_) == (DAY, WEEK)
    two_days, less = (dated(np.linspace(0.0, hours, 20), np.arange(20.0)) for hours in (48.0, 47.0))
    assert SeasonalNaiveForecaster().fit(two_days).period_ == DAY
    with pytest.raises(ParameterError, match=r"no day, week or year has two typical gaps.*give period='1D'"):
        SeasonalNaiveForecaster().fit(less)


def test_a_period_of_numbers_is_one_unit_where_the_data_show_it_and_else_is_to_be_given():
    units = pd.Series(np.arange(13.0), index=np.arange(13) / 4.0)
    assert SeasonalNaiveForecaster().fit(units).period_ == 1.0
    for other in (units.iloc[:8], pd.Series(np.arange(13.0), index=np.arange(13) / 2.0), units.iloc[:1]):
        with pytest.raises(ParameterError, match=r"times are numbers.*give period=12.0"):
            SeasonalNaiveForecaster().fit(other)
    assert SeasonalNaiveForecaster(period=0.75).fit(units).predict(times=[3.25]).tolist() == pytest.approx([10.0])


def test_durations_know_the_calendar_as_datetimes_do():
    series = wave(24, 30 * 24, 300)
    counted = series.set_axis(series.index - series.index[0])
    assert SeasonalNaiveForecaster().fit(counted).period_ == DAY


@pytest.mark.parametrize(
    ("period", "message"),
    [
        ("3D", r"period='3D' is longer than the data, whose series span 2 days 00:00:00 at most"),
        ("-1D", r"period='-1D' must be positive"),
        ("0D", r"period='0D' must be positive"),
        ("1M", r"period='1M' is not a duration"),
        ("dayly", r"period='dayly' is not a duration"),
        (12.0, r"period=12.0 is a number but the series has datetimes"),
        (None, r"period=None is of type NoneType"),
        (True, r"period=True is a truth value"),
    ],
)
def test_a_period_that_cannot_be_is_refused_by_name(period, message):
    with pytest.raises(ParameterError, match=message):
        SeasonalNaiveForecaster(period=period).fit(dated([0.0, 20.0, 48.0], [1.0, 2.0, 3.0]))


def test_a_period_as_long_as_the_data_is_none_too_long():
    numbers = pd.Series([1.0, 2.0, 3.0], index=[0.1, 0.2, 0.4])
    assert SeasonalNaiveForecaster(period=0.3).fit(numbers).predict(times=[0.5]).tolist() == pytest.approx([2.0])
    with pytest.raises(ParameterError, match=r"period=0.31 is longer than the data, whose series span 0.3 at most"):
        SeasonalNaiveForecaster(period=0.31).fit(numbers)
    with pytest.raises(ParameterError, match=r"period=1.0 is longer than the data, whose series have one time each"):
        SeasonalNaiveForecaster(period=1.0).fit(numbers.iloc[:1])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_period_is_kept_by_files_and_by_updates(tmp_path, dtype):
    series = wave(24, 30 * 24, 300)
    made = SeasonalNaiveForecaster(dtype=dtype).fit(series.iloc[:250])
    made.save(tmp_path / "model")
    loaded = SeasonalNaiveForecaster.load(tmp_path / "model")
    assert loaded.period_ == made.period_ == DAY
    # the rows alone that are new would not tell of a season
    assert loaded.update(series.iloc[250:], refit=True).period_ == DAY
    hours = (series.index - series.index[-1]) / pd.Timedelta("1h")
    np.testing.assert_allclose(loaded.predict(horizon=["20h"]), np.interp(-4.0, hours, series), rtol=1e-5)


def test_intervals_hold_what_they_say_on_a_noisy_season():
    series = wave(24, 60 * 24, 1200)
    series += 0.3 * np.random.default_rng(1).normal(size=len(series))
    made = SeasonalNaiveForecaster(period="1D", horizon="5D").fit(series.iloc[:900])
    later = series.iloc[900:]
    band = made.predict_interval(times=later.index, level=80)
    inside = (band["y-lo-80"] <= later) & (later <= band["y-hi-80"])
    assert inside.mean() == pytest.approx(0.8, abs=6.0 * (0.8 * 0.2 / 300) ** 0.5)  # six standard errors


# -- tables of scores --------------------------------------------------------------------------------------------------


def names_in(table) -> list[str]:
    return table.index.get_level_values("model").unique().tolist()


def test_it_is_in_the_table_where_the_past_of_every_cutoff_tells_a_season():
    frame = example_panel(4)
    how = {"horizon": "8h", "metrics": ["mae", "crps"], "refit": True}
    baselines = ["ConstantForecaster", "LastValueForecaster", "DriftForecaster"]
    table = score_table({}, frame, cutoffs="2024-03-03 06:00", **how)  # after 54 h
    assert names_in(table) == [*baselines, "SeasonalNaiveForecaster"]
    assert np.isfinite(table).all(axis=None)
    for cutoffs in ("2024-03-02 12:00", ["2024-03-02 12:00", "2024-03-03 06:00"]):
        assert names_in(score_table({}, frame, cutoffs=cutoffs, **how)) == baselines


def test_its_scores_are_those_of_the_forecaster_itself():
    series = wave(24, 20 * 24, 400)
    how = {"cutoffs": series.index[300], "horizon": "2D", "metrics": ["mae"]}
    table = score_table({}, series, **how)
    later = series[(series.index > series.index[300]) & (series.index <= series.index[300] + pd.Timedelta("2D"))]
    made = SeasonalNaiveForecaster(horizon="2D").fit(series.iloc[:301])
    error = (made.predict(times=later.index) - later).abs().mean()
    assert table.loc[("y", "SeasonalNaiveForecaster"), "mae"] == pytest.approx(error)
    assert table.loc[("y", "SeasonalNaiveForecaster"), "mae-rel"] < 0.5


def test_the_table_takes_the_season_that_a_forecaster_beside_it_knows():
    hours = np.arange(200.0)
    numbers = pd.Series(np.tile([0.0, 3.0, 1.0, 5.0], 50), index=hours, name="y")  # no unit of these shows a season
    how = {"cutoffs": 150.0, "horizon": 20.0, "metrics": ["mae"]}
    assert "SeasonalNaiveForecaster" not in names_in(score_table(LastValueForecaster(), numbers, **how))

    class Knows(LastValueForecaster):
        period_ = 4.0

    table = score_table({"knows": Knows()}, numbers, **how)
    assert table.loc[("y", "SeasonalNaiveForecaster"), "mae"] == pytest.approx(0.0, abs=1e-12)


def test_one_that_is_given_is_not_left_out_but_refused():
    numbers = pd.Series(np.arange(40.0), index=np.arange(40.0), name="y")
    how = {"cutoffs": 30.0, "horizon": 5.0, "metrics": ["mae"]}
    with pytest.raises(ParameterError, match="period='auto' knows no season"):
        score_table(SeasonalNaiveForecaster(), numbers, **how)
    assert names_in(score_table(SeasonalNaiveForecaster(period=4.0), numbers, **how))[0] == "SeasonalNaiveForecaster"

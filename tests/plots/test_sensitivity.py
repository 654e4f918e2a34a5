import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tests.registries import fitted
from tsode import LinearSDEForecaster
from tsode.diagnostics import influence, sensitivity
from tsode.errors import DataError, ParameterError
from tsode.plots import plot_influence, plot_sensitivity

pytestmark = pytest.mark.usefixtures("short_epochs")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def table():
    return sensitivity(fitted("LinearSDEForecaster-float64"), horizon=["2h", "10h"])


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_stems_stand_at_the_times_of_observations_and_end_at_derivatives(table):
    ax = plot_sensitivity(table, "a", series="s3")
    own = table[(table["series"] == "s3") & (table["channel"] == "a")]
    own = own[own["forecast_time"] == own["forecast_time"].min()]
    dots = {line.get_label(): line for line in ax.lines if line.get_marker() == "o"}
    assert set(dots) == {"a", "b"}
    for source, line in dots.items():
        part = own[own["source"] == source]
        np.testing.assert_array_equal(line.get_ydata(), part["derivative"])
        assert list(pd.DatetimeIndex(line.get_xdata())) == part["time"].tolist()
    dashed = next(line for line in ax.lines if line.get_linestyle() == "--")
    assert pd.Timestamp(dashed.get_xdata()[0]) == own["forecast_time"].iloc[0]


def test_another_forecast_time_has_other_stems(table):
    last = table.loc[table["series"] == "s3", "forecast_time"].max()
    ax = plot_sensitivity(table, "a", series="s3", forecast_time=last)
    own = table[(table["series"] == "s3") & (table["channel"] == "a") & (table["forecast_time"] == last)]
    line = next(line for line in ax.lines if line.get_label() == "a")
    np.testing.assert_array_equal(line.get_ydata(), own.loc[own["source"] == "a", "derivative"])


def test_events_have_marks_of_their_own():
    times = np.arange(12.0)
    data = pd.DataFrame({"unique_id": "s", "ds": times, "y": np.sin(times)})
    events = pd.DataFrame({
        "unique_id": "s", "ds": [2.5, 6.5], "kind": "add", "target": "y", "amount": [1.0, 2.0],
        "duration": [np.nan, 2.0],
    })  # fmt: skip
    forecaster = LinearSDEForecaster(max_epochs=1, random_state=0).fit(data, events=events)
    ax = plot_sensitivity(sensitivity(forecaster, times=[13.0]))
    assert labels(ax) == ["y", "add y", "rate y"]
    assert [line.get_marker() for line in ax.lines if line.get_marker() != "None"] == ["o", "^", "s"]


def test_what_is_drawn_has_to_be_said_and_be_there(table):
    with pytest.raises(ParameterError, match="say which to draw with series="):
        plot_sensitivity(table)
    with pytest.raises(ParameterError, match="say which to draw with channel="):
        plot_sensitivity(table, series="s3")
    with pytest.raises(DataError, match="has no forecast of 's3' at"):
        plot_sensitivity(table, "a", series="s3", forecast_time=pd.Timestamp("1999-01-01"))


@pytest.mark.slow
def test_the_bold_line_of_an_influence_is_the_median_over_series():
    curves = influence(fitted("LinearSDEForecaster-float64"))
    ax = plot_influence(curves, half_life=5.0)
    assert labels(ax) == ["a", "b", "half-life 5"]
    own = curves[(curves["source"] == "a") & (curves["channel"] == "a")]
    line = next(line for line in ax.lines if line.get_label() == "a")
    median = own.assign(size=own["derivative"].abs()).groupby("lag_hours")["size"].median()
    np.testing.assert_allclose(line.get_ydata(), median)
    dashed = next(line for line in ax.lines if line.get_linestyle() == "--")
    x, y = dashed.get_xdata(), dashed.get_ydata()
    np.testing.assert_allclose(np.diff(np.log2(y)) / np.diff(x), -0.2)


def test_an_influence_on_nothing_is_not_drawn():
    curves = influence(fitted("LinearSDEForecaster-float64"))
    with pytest.raises(DataError, match="ask for shorter lags"):
        plot_influence(curves.assign(derivative=0.0))

import matplotlib

matplotlib.use("Agg")

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.dates import date2num

from tests.registries import fitted
from tsode import LinearSDEForecaster, part
from tsode.errors import DataError, ParameterError
from tsode.plots import plot_decomposition

YEAR = [part("season", period=1.0, n_harmonics=1, name="year")]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def values_at(times: np.ndarray) -> np.ndarray:
    return 3.0 + np.sin(2.0 * np.pi * times) + 0.1 * np.cos(37.0 * times)


@pytest.fixture(scope="module")
def plain() -> LinearSDEForecaster:
    times = np.linspace(0.0, 4.0, 33)
    data = pd.Series(values_at(times), index=pd.Index(times, name="years"), name="y")
    return LinearSDEForecaster(components=["level", *YEAR], random_state=0).fit(data)


@pytest.fixture(scope="module")
def panel() -> LinearSDEForecaster:
    """Two series of two positive channels, modelled by their logarithms, at times in a time zone."""
    days = np.linspace(0.0, 4.0, 25)
    times = pd.Timestamp("2024-03-30", tz="Europe/Berlin") + pd.to_timedelta(days, unit="D")
    one = pd.DataFrame({"ds": times, "hr": np.exp(values_at(days)), "bp": np.exp(-values_at(days))})
    frame = pd.concat([one.assign(unique_id="ann"), one.iloc[:9].assign(unique_id="bob")])
    components = [part("season", period="1D", n_harmonics=1, name="day"), "ou"]
    return LinearSDEForecaster(components=components, support="positive", random_state=0).fit(frame)


def line(ax):
    return next(one for one in ax.lines if one.get_label() in ("fit", "year", "trend", "day", "rest"))


def test_every_part_has_a_panel_with_its_mean_and_its_bands(plain):
    times = np.array([0.5, 1.1, 4.5])
    axes = plot_decomposition(plain, times=times, level=(80, 50))
    parts = plain.decompose(times=times, level=(80, 50))
    assert [ax.get_ylabel() for ax in axes] == ["y", "trend", "year"]
    for ax, name in zip(axes, ["fit", "trend", "year"]):
        np.testing.assert_array_equal(line(ax).get_xydata(), np.stack([times, parts[f"y-{name}"]], axis=1))
        widest = next(one for one in ax.collections if isinstance(one, PolyCollection))
        assert widest.get_label() == "80 %"
        assert widest.get_paths()[0].vertices[:, 1].min() == parts[f"y-{name}-lo-80"].min()
    assert axes[-1].get_xlabel() == "years"


def test_the_panels_share_their_time_axis(plain):
    axes = plot_decomposition(plain, times=[0.5, 1.1])
    axes[0].set_xlim(0.7, 0.9)
    assert {ax.get_xlim() for ax in axes} == {(0.7, 0.9)}


def test_observations_are_dots_and_a_line_marks_their_end_where_the_picture_goes_on(plain):
    here, beyond = plot_decomposition(plain), plot_decomposition(plain, horizon=1.5)
    for axes, end in ((here, 4.0), (beyond, 5.5)):
        dots = next(one for one in axes[0].lines if one.get_label() == "observed")
        assert len(dots.get_xdata()) == 33
        times = line(axes[0]).get_xdata()
        assert (times[0], times[-1]) == (0.0, end)
        assert set(dots.get_xdata()) <= set(times)
    assert all("--" not in [one.get_linestyle() for one in ax.lines] for ax in here)
    for ax in beyond:
        (mark,) = [one for one in ax.lines if one.get_linestyle() == "--"]
        assert mark.get_xdata()[0] == 4.0


def test_the_fit_is_in_the_units_of_the_data_and_its_parts_on_the_scale_of_the_model(panel):
    times = pd.date_range("2024-03-30", periods=5, freq="7h", tz="Europe/Berlin")
    axes = plot_decomposition(panel, "hr", series="bob", times=times, label="heart rate (bpm)")
    parts = panel.decompose(times={"bob": times})
    np.testing.assert_allclose(line(axes[0]).get_ydata(), np.exp(parts["hr-fit"]))
    np.testing.assert_array_equal(line(axes[1]).get_ydata(), parts["hr-day"])
    assert [ax.get_ylabel() for ax in axes] == ["heart rate (bpm)", "day\n(log scale)", "rest\n(log scale)"]


def test_one_channel_of_one_series_is_drawn_in_its_time_zone(panel):
    axes = plot_decomposition(panel, "bp", series="bob", horizon="1D", level=80)
    dots = next(one for one in axes[0].lines if one.get_label() == "observed")
    assert len(dots.get_xdata()) == 9
    last = dots.get_xdata(orig=False)[-1]
    assert line(axes[-1]).get_xdata(orig=False)[-1] == pytest.approx(last + 1.0)
    assert dots.get_xdata(orig=False)[0] == date2num(pd.Timestamp("2024-03-30", tz="Europe/Berlin").to_pydatetime())
    assert str(axes[-1].xaxis.get_major_locator().tz) == "Europe/Berlin"


def test_a_new_series_is_taken_apart_where_its_history_is_given(plain):
    times = np.linspace(10.0, 12.0, 17)
    context = pd.Series(values_at(times), index=times, name="y")
    axes = plot_decomposition(plain, context=context)
    drawn = line(axes[0]).get_xdata()
    assert (drawn[0], drawn[-1]) == (10.0, 12.0)


def test_labels_are_clear_of_each_other_and_within_the_figure(panel):
    axes = plot_decomposition(
        panel, "hr", series="ann", times=pd.date_range("2024-03-30", periods=3, tz="Europe/Berlin")
    )
    figure = axes[0].figure
    figure.canvas.draw()
    labels = [ax.yaxis.label.get_window_extent() for ax in axes]
    assert not any(one.overlaps(other) for one, other in pairwise(labels))
    legend = axes[0].get_legend().get_window_extent()
    assert not any(legend.overlaps(ax.get_window_extent().shrunk(0.999, 0.999)) for ax in axes)
    for box in (*labels, legend):
        assert figure.bbox.contains(box.x0, box.y0)
        assert figure.bbox.contains(box.x1, box.y1)


def test_a_figure_given_is_drawn_on(plain):
    figure = plt.figure()
    axes = plot_decomposition(plain, times=[0.5, 1.1], figure=figure)
    assert list(axes) == figure.axes


def test_a_choice_left_open_and_a_label_that_is_not_there_are_named(panel):
    with pytest.raises(ParameterError, match=r"2 channel labels \('.*'\): say which to draw with channel="):
        plot_decomposition(panel, series="ann")
    with pytest.raises(ParameterError, match="say which to draw with series="):
        plot_decomposition(panel, "hr")
    with pytest.raises(DataError, match=r"no series 'bop'\. Did you mean 'bob'\?"):
        plot_decomposition(panel, "hr", series="bop")


def test_forecasters_without_parts_are_refused():
    for name in ("LinearSDEForecaster-float64", "LastValueForecaster-float64"):
        with pytest.raises(ParameterError, match="components='auto'"):
            plot_decomposition(fitted(name), "x")

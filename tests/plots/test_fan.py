import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.dates import date2num

from tsode.errors import DataError, ParameterError
from tsode.plots import plot_fan

LEVELS = (95, 50, 80)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def wide_bands(times, channel="hr", levels=LEVELS) -> pd.DataFrame:
    """A mean of 10 and intervals whose half width is their level."""
    columns = {channel: 10.0}
    for level in levels:
        columns |= {f"{channel}-lo-{level}": 10.0 - level, f"{channel}-hi-{level}": 10.0 + level}
    return pd.DataFrame(columns, index=pd.Index(times))


def long_bands(times, ids=("a", "b")) -> pd.DataFrame:
    parts = [wide_bands(times).rename_axis("ds").reset_index().assign(unique_id=label) for label in ids]
    return pd.concat(parts, ignore_index=True)


def fans(ax):
    """Label -> lowest and highest value of each filled band, in the order of drawing."""
    drawn = [one for one in ax.collections if isinstance(one, PolyCollection)]
    return {one.get_label(): one.get_paths()[0].vertices[:, 1] for one in drawn}


def line(ax, label):
    return next(one for one in ax.lines if one.get_label() == label)


def test_every_level_is_drawn_from_its_low_to_its_high_the_widest_first():
    history = pd.Series([9.0, 11.0], index=[0.0, 1.0], name="hr")
    ax = plot_fan(history, wide_bands([0.0, 0.5, 1.0, 2.0]))
    assert list(fans(ax)) == ["95 %", "80 %", "50 %"]
    for level in LEVELS:
        heights = fans(ax)[f"{level} %"]
        assert (heights.min(), heights.max()) == (10.0 - level, 10.0 + level)
    shades = [np.mean(one.get_facecolor()[0][:3]) for one in ax.collections]
    assert shades == sorted(shades, reverse=True)
    assert np.mean(to_rgb(line(ax, "mean").get_color())) < min(shades)
    np.testing.assert_array_equal(line(ax, "mean").get_ydata(), [10.0] * 4)


def test_dots_stand_where_something_was_observed_and_only_there():
    history = pd.Series([9.0, np.nan, 11.0, 12.0], index=[-5.0, 0.0, 0.7, 1.0], name="hr")
    ax = plot_fan(history, wide_bands([0.0, 0.5, 2.0]))
    np.testing.assert_array_equal(line(ax, "observed").get_xydata(), [[0.7, 11.0], [1.0, 12.0]])
    assert line(ax, "observed").get_linestyle() == "None"


def test_what_came_later_is_drawn_as_circles_up_to_the_end_of_the_bands():
    history = pd.Series([9.0], index=[0.0], name="hr")
    truth = pd.Series([1.0, 2.0], index=[1.0, 9.0], name="hr")
    ax = plot_fan(history, wide_bands([0.0, 2.0]), truth=truth)
    circles = line(ax, "came later")
    np.testing.assert_array_equal(circles.get_xydata(), [[1.0, 1.0]])
    assert circles.get_markerfacecolor() == "white"


def test_one_channel_of_one_series_of_a_long_panel_is_picked():
    times = pd.date_range("2024-01-01", periods=4, freq="6h")
    history = pd.DataFrame({"unique_id": ["a", "b"], "ds": times[:2], "hr": [1.0, 2.0], "map": [3.0, 4.0]})
    ax = plot_fan(history, long_bands(times), "hr", series="b")
    np.testing.assert_array_equal(line(ax, "observed").get_ydata(), [2.0])


def test_axes_given_are_drawn_on_and_returned_and_labels_can_be_set():
    ax = plt.figure().add_subplot()
    history = pd.Series([9.0], index=pd.Index([0.0], name="age"), name="hr")
    assert plot_fan(history, wide_bands([0.0, 2.0]).rename_axis("age"), label="heart rate (bpm)", ax=ax) is ax
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("heart rate (bpm)", "age")
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["95 %", "80 %", "50 %", "mean", "observed"]


def test_datetimes_keep_their_time_zone():
    times = pd.date_range("2024-03-30", periods=5, freq="12h", tz="Europe/Berlin")
    history = pd.Series([9.0], index=times[:1], name="hr")
    ax = plot_fan(history, wide_bands(times))
    np.testing.assert_allclose(line(ax, "mean").get_xdata(orig=False), date2num(times.to_pydatetime()))
    assert str(ax.xaxis.get_major_locator().tz) == "Europe/Berlin"


@pytest.mark.parametrize(("step", "unit"), [("2D", "days"), ("3h", "hours"), ("10min", "minutes"), ("1s", "seconds")])
def test_durations_are_shown_in_the_unit_that_suits_their_span(step, unit):
    times = pd.timedelta_range(0, periods=5, freq=step)
    ax = plot_fan(pd.Series([9.0], index=times[1:2], name="hr"), wide_bands(times))
    assert ax.get_xlabel() == f"time ({unit})"
    assert line(ax, "observed").get_xdata()[0] == line(ax, "mean").get_xdata()[1]
    assert line(ax, "mean").get_xdata()[1] == pd.Timedelta(step) / pd.Timedelta(1, unit)


def test_the_last_observation_is_marked_only_where_the_forecast_goes_past_it():
    history = pd.Series([9.0, 8.0], index=[0.0, 1.0], name="hr")
    marks = [len(plot_fan(history, wide_bands([0.0, end])).lines) for end in (0.5, 2.0)]
    assert marks == [2, 3]


def test_a_series_without_a_name_and_without_a_frame_is_drawn():
    history = pd.Series([9.0], index=[0.0])
    assert plot_fan(history, wide_bands([0.0, 2.0], channel="y")).get_ylabel() == "y"


def test_a_choice_left_open_is_named():
    history = pd.DataFrame({"unique_id": ["a", "b"], "ds": [0.0, 1.0], "hr": [1.0, 2.0], "map": [3.0, 4.0]})
    with pytest.raises(ParameterError, match=r"2 channel labels \('hr', 'map'\): say which to draw with channel="):
        plot_fan(history, long_bands([0.0, 1.0]))
    with pytest.raises(ParameterError, match="say which to draw with series="):
        plot_fan(history, long_bands([0.0, 1.0]), "hr")


def test_labels_that_are_not_there_are_guessed():
    history = pd.DataFrame({"unique_id": ["ann", "bob"], "ds": [0.0, 1.0], "hr": [1.0, 2.0]})
    with pytest.raises(DataError, match=r"no series 'bop'\. Did you mean 'bob'\?"):
        plot_fan(history, long_bands([0.0, 1.0]), series="bop")
    with pytest.raises(DataError, match="bands has no series 'ann'"):
        plot_fan(history, long_bands([0.0, 1.0]), series="ann")


def test_a_forecast_without_intervals_is_refused():
    history = pd.Series([9.0], index=[0.0], name="hr")
    with pytest.raises(DataError, match="pass what predict_interval gave"):
        plot_fan(history, wide_bands([0.0, 2.0])[["hr"]])


def test_bands_that_start_after_the_history_show_as_much_of_it_as_they_reach_beyond():
    history = pd.Series(np.arange(10.0), index=np.arange(10.0), name="hr")
    ax = plot_fan(history, wide_bands([9.5, 11.0, 13.0]))
    np.testing.assert_array_equal(line(ax, "observed").get_xdata(), [5.0, 6.0, 7.0, 8.0, 9.0])
    alone = plot_fan(history, wide_bands([9.0, 9.5]))
    np.testing.assert_array_equal(line(alone, "observed").get_xdata(), [9.0])
    dates = pd.date_range("1678-01-01", periods=10, freq="D")  # near the first time that 64 bits of nanoseconds hold
    far = plot_fan(history.set_axis(dates), wide_bands(pd.date_range("1678-01-11", "2020-01-01", periods=3)))
    assert len(line(far, "observed").get_xdata()) == 10


def test_limits_are_those_of_the_observations_and_of_the_bands_after_them():
    history = pd.Series([9.0, 11.0], index=[1.0, 2.0], name="hr")
    bands = wide_bands([0.0, 1.5, 2.0, 3.0], levels=(80,)).assign(**{"hr-hi-80": [1e6, 1e3, 11.0, 14.0]})
    bands["hr-lo-80"] = [-1e6, -1e3, 8.0, 7.0]
    low, high = plot_fan(history, bands).get_ylim()
    assert 6.0 < low < 7.0
    assert 14.0 < high < 15.0
    wide = plot_fan(history, bands, truth=pd.Series([30.0], index=[2.5], name="hr"))
    assert wide.get_ylim()[1] > 30.0


def test_a_second_fan_on_the_same_axes_hides_nothing_of_the_first():
    history = pd.Series([9.0], index=[0.0], name="hr")
    ax = plot_fan(history, wide_bands([0.0, 2.0], levels=(95,)))
    before = ax.get_ylim()
    plot_fan(history, wide_bands([0.0, 2.0], levels=(50,)), ax=ax)
    assert ax.get_ylim() == before


@pytest.mark.parametrize("n_levels", [1, 12, 30])
def test_the_legend_lies_outside_of_the_axes_and_clear_of_the_title(n_levels):
    levels = tuple(range(3, 3 + 3 * n_levels, 3))
    history = pd.Series([9.0], index=[0.0], name="hr")
    ax = plot_fan(history, wide_bands([0.0, 2.0], levels=levels))
    ax.set_title("A title that is about as long as the axes are wide, which is what users write there all the time")
    ax.figure.canvas.draw()
    legend, title = ax.get_legend().get_window_extent(), ax.title.get_window_extent()
    assert not legend.overlaps(title)
    assert not legend.overlaps(ax.get_window_extent().shrunk(0.999, 0.999))
    assert ax.figure.bbox.contains(legend.x1, legend.y0)
    assert ax.figure.bbox.contains(legend.x0, legend.y1)


@pytest.mark.parametrize("name", ["$x^$", "$\\frac{$", "a$b", "_hidden", "%s {}"])
def test_labels_of_the_data_are_drawn_letter_by_letter(name):
    history = pd.Series([9.0], index=pd.Index([0.0], name="t$_$"), name=name)
    ax = plot_fan(history, wide_bands([0.0, 2.0], channel=name).rename_axis("t$_$"))
    ax.figure.canvas.draw()
    assert ax.get_ylabel().replace("\\$", "$").lstrip("\u200b") == name

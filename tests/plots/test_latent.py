import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tests.registries import fitted, small
from tsode.diagnostics import latent_path
from tsode.errors import ParameterError
from tsode.estimators import FORECASTERS
from tsode.plots import plot_latent
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")

FILTER = "JumpODEForecaster-float64"


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def dosed():
    """A filter and a latent model that have seen a dose in the middle of every series."""
    frame = example_panel()
    doses = frame[["unique_id", "ds"]].drop_duplicates("unique_id")  # the first row of each, at one time
    doses = doses.assign(ds=doses["ds"] + pd.Timedelta("31h10min"), amount=1.0).reset_index(drop=True)
    names = ("JumpODEForecaster", "LatentODEForecaster")
    return {name: small(FORECASTERS[name], dtype="float64").fit(frame, events=doses) for name in names}, doses


def first_series():
    frame = example_panel()
    return frame["unique_id"].iloc[0]


def test_a_filter_jumps_at_every_observation_and_flows_from_the_right_limit_to_the_left():
    key = first_series()
    path = latent_path(fitted(FILTER), series=key)
    frame = example_panel()
    one = frame[frame["unique_id"] == key].drop(columns=["unique_id"]).set_index("ds").dropna(how="all")
    np.testing.assert_array_equal(path.jump_times, one.index.to_numpy())
    module = fitted(FILTER).module_
    member = module.members[0]
    np.testing.assert_array_equal(path.z[0][np.searchsorted(path.times, path.jump_times)], path.z_minus[0])
    right = np.searchsorted(path.times, path.jump_times, side="right") - 1
    np.testing.assert_array_equal(path.z[0][right], path.z_plus[0])
    assert member.evolution.n_state == path.z.shape[2]


def test_states_before_an_observation_do_not_know_it():
    frame = example_panel()
    key = first_series()
    one = frame[frame["unique_id"] == key].sort_values("ds")
    whole = latent_path(fitted(FILTER), series=key, context=one)
    begun = latent_path(fitted(FILTER), series=key, context=one.iloc[:5])
    n = len(begun.jump_times)
    np.testing.assert_allclose(begun.z_plus[0], whole.z_plus[0, :n], atol=1e-12)


@pytest.mark.slow
def test_both_limits_are_dots_and_doses_are_ticks(dosed):
    made, doses = dosed
    ax = plot_latent(made["JumpODEForecaster"], series=doses["unique_id"][0], components=[2, 0])
    path = latent_path(made["JumpODEForecaster"], series=doses["unique_id"][0])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["z[2]", "z[0]", "event"]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_array_equal(dots[0].get_ydata(), path.z_minus[0, :, 2])
    np.testing.assert_array_equal(dots[1].get_ydata(), path.z_plus[0, :, 2])
    assert dots[0].get_markerfacecolor() == "white"
    (ticks,) = [line for line in ax.lines if line.get_marker() == "^"]
    assert pd.Timestamp(ticks.get_xdata()[0]) == doses["ds"][0]


def test_a_latent_ode_jumps_at_doses_alone_by_the_learned_push(dosed):
    made, doses = dosed
    model = made["LatentODEForecaster"]
    path = latent_path(model, series=doses["unique_id"][0])
    assert pd.DatetimeIndex(path.jump_times).tolist() == [doses["ds"][0]]
    assert path.is_input.all()
    pushed = (path.z_plus - path.z_minus)[:, 0]
    np.testing.assert_allclose(pushed, np.broadcast_to(pushed[:1], pushed.shape), atol=1e-9)  # the same on every path
    assert np.abs(pushed).max() > 1e-3
    ax = plot_latent(model, series=doses["unique_id"][0])
    assert len([line for line in ax.lines if line.get_linewidth() == 0.6]) == 3 * 8


def test_datetimes_are_kept_and_what_is_left_open_is_named():
    times = pd.date_range("2024-01-01", periods=30, freq="3h", tz="Europe/Berlin")
    series = pd.Series(np.sin(np.arange(30.0)), index=times, name="x")
    made = small(FORECASTERS["JumpODEForecaster"]).fit(series)
    ax = plot_latent(made, first=times[20].tz_convert("UTC").tz_localize(None))
    assert str(ax.xaxis.get_major_locator().tz) == "Europe/Berlin"
    with pytest.raises(ParameterError, match="series=None is none of"):
        plot_latent(fitted(FILTER))
    with pytest.raises(ParameterError, match="no latent path that jumps"):
        plot_latent(fitted("LastValueForecaster-float64"), series=first_series())
    with pytest.raises(ParameterError, match="choose an earlier time"):
        plot_latent(fitted(FILTER), series=first_series(), first=pd.Timestamp("2100-01-01"))

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tsode import KnownODEForecaster
from tsode.errors import DataError, ParameterError
from tsode.inference import AdditiveNoise, Between, LogNormal, LogNormalNoise, PoissonNoise
from tsode.plots import plot_individual_fits, plot_posterior_predictive

IDS = [f"person {k}" for k in range(40)]


def rates(t, z, p):
    return (-p.k * z[:, 0],)


def fitted(data, observed, **more):
    return KnownODEForecaster(
        rates, states=["drug"], parameters={"k": LogNormal(-1, 0.5)}, initial={"drug": 10.0}, observed=observed,
        inference="laplace", n_draws=100, random_state=0, **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def forty():
    """Forty people with a dose each, and a value below the limit of quantification of two."""
    times = pd.Timestamp("2024-03-01", tz="Europe/Berlin") + pd.to_timedelta([0, 6, 12, 24], unit="h")
    data = pd.DataFrame({"unique_id": np.repeat(IDS, 4), "ds": np.tile(times, 40)})
    data["level"] = np.tile([10.0, 11.0, 7.0, 0.0], 40)
    doses = pd.DataFrame({"unique_id": IDS, "ds": times[1], "amount": 5.0, "target": "drug"})
    model = fitted(data, {"level": AdditiveNoise("drug", sd=1.0, below=2.0)}, time_unit="6h")
    return model.fit(data, events=doses)


@pytest.fixture(scope="module")
def channels():
    """A channel with multiplicative noise, and one of counts between times."""
    data = pd.DataFrame({"unique_id": "a", "ds": [1.0, 2.0, 4.0], "level": [7.0, np.nan, 2.0], "left": [3.0, 2, 3]})
    left = Between(lambda t_before, z_before, t, z, p: z_before[:, 0] - z[:, 0])
    observed = {"level": LogNormalNoise("drug", sd=0.2), "left": PoissonNoise(left)}
    return fitted(data, observed, initial_time=0.0).fit(data)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def drawn(figure):
    return [axis for axis in figure.axes if axis.axison]


def lines(axis):
    return {line.get_label(): line for line in axis.lines}


@pytest.mark.slow
def test_each_series_has_a_panel_and_those_beyond_thirty_a_page(forty):
    first, second = plot_individual_fits(forty), plot_individual_fits(forty, page=2)
    assert [axis.get_title() for axis in drawn(first)] == IDS[:30]
    assert [axis.get_title() for axis in drawn(second)] == IDS[30:]
    assert first.get_suptitle() == "page 1 of 2: 30 of 40 series"
    with pytest.raises(ParameterError, match="page=3 is not there: 40 series come on 2 pages"):
        plot_individual_fits(forty, page=3)
    with pytest.raises(DataError, match=r"no series 'person41' in fit. Did you mean 'person \d"):
        plot_individual_fits(forty, series=["person41"])


@pytest.mark.slow
def test_a_panel_has_curve_bands_values_doses_and_what_is_below_the_limit(forty):
    (axis,) = drawn(plot_individual_fits(forty, series=["person 7"], level=80))
    by_label = lines(axis)
    curves = forty.fitted_curves(["person 7"], level=80)
    np.testing.assert_array_equal(by_label["posterior mean"].get_ydata(), curves["level"])
    assert by_label["posterior mean"].get_xdata()[0].hour == 0
    assert by_label["posterior mean"].get_xdata()[0].tzinfo is not None
    assert {band.get_label() for band in axis.collections} == {"80 % of observations", "80 % of curves"}
    np.testing.assert_array_equal(by_label["observed"].get_ydata(), [10.0, 11.0, 7.0])
    censored = by_label["below the limit"]
    assert (list(censored.get_ydata()), censored.get_marker()) == ([2.0], "v")  # not at the 0 of the data
    assert [moment.hour for moment in by_label["event"].get_xdata()] == [6]
    # the curve leaps at the dose
    mean = curves["level"].to_numpy()
    assert np.diff(mean).max() == pytest.approx(5.0, abs=1e-3)


def test_counts_are_steps_and_multiplicative_noise_stands_on_a_logarithmic_axis(channels):
    level, left = drawn(plot_individual_fits(channels))
    assert (level.get_title(), left.get_title()) == ("level", "left")
    assert (level.get_yscale(), left.get_yscale()) == ("log", "linear")
    steps = lines(left)["posterior mean"]
    assert steps.get_drawstyle() == "steps-pre"
    assert list(steps.get_xdata()) == [0.0, 1.0, 2.0, 4.0]
    (level,) = drawn(plot_individual_fits(channels, "level", log=False))
    assert level.get_yscale() == "linear"
    with pytest.raises(DataError, match=r"no channel 'lever'\. Did you mean 'level'"):
        plot_individual_fits(channels, ["lever"])


@pytest.mark.slow
def test_a_predictive_check_has_the_shares_of_the_data_and_of_replicates(forty, channels):
    figure = plot_posterior_predictive(channels, n_samples=7)
    level, levels, left, _ = figure.axes
    assert (level.get_xscale(), left.get_xscale()) == ("log", "linear")
    assert len(level.lines) == 7 + 1
    x, share = lines(level)["observed (n = 2)"].get_data()
    np.testing.assert_array_equal(x, [2.0, 2.0, 7.0])
    np.testing.assert_array_equal(share, [0.0, 0.5, 1.0])
    pit = channels.loo_pit(0).query("channel == 'level'")["pit"]
    (of_values,) = (line for label, line in lines(levels).items() if label.startswith("values"))
    np.testing.assert_array_equal(of_values.get_xdata()[1:-1], np.sort(pit))
    below = plot_posterior_predictive(forty, n_samples=3).axes[0]
    assert all(line.get_xdata().min() >= 2.0 for line in below.lines)  # no lower than the limit

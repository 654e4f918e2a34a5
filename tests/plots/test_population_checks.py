import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tests.estimators.known_ode.small_population import IDS, bolus, level, simulated_bolus
from tsode.errors import DataError, ParameterError
from tsode.inference import AdditiveNoise
from tsode.plots import plot_effects, plot_goodness_of_fit, plot_profiles, plot_visual_predictive_check


@pytest.fixture(scope="module")
def fitted():
    data, doses, static = simulated_bolus()
    return bolus().fit(data, events=doses, static=static)


@pytest.fixture(scope="module")
def censored():
    """Values below 2 censored, on a calendar."""
    data, doses, _ = simulated_bolus()
    data["level"] = data["level"].clip(lower=2.0)
    for table in (data, doses):
        table["ds"] = pd.Timestamp("2024-03-01") + pd.to_timedelta(table["ds"], unit="h")
    noise = AdditiveNoise(level, sd=0.3, below=2.0)
    return bolus(observed={"level": noise}, covariates=None, time_unit="1h").fit(data, events=doses)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def points(axis):
    return next(line for line in axis.lines if line.get_marker() == "o").get_data()


@pytest.mark.slow
def test_goodness_of_fit_draws_values_and_residuals_of_the_table(fitted):
    table = fitted.goodness_of_fit(n=0)
    pred, ipred, by_pred, by_time = plot_goodness_of_fit(fitted, table=table).axes
    np.testing.assert_array_equal(points(pred)[0], table["PRED"])
    np.testing.assert_array_equal(points(ipred)[0], table["IPRED"])
    np.testing.assert_array_equal(points(by_pred)[1], table["CWRES"])
    np.testing.assert_array_equal(points(by_time)[0], table["ds"])
    assert pred.get_xscale() == pred.get_yscale() == by_pred.get_xscale() == "log"
    assert by_pred.get_ylabel() == "CWRES (standard deviations)"
    with pytest.raises(ParameterError, match="residual='WRES'"):
        plot_goodness_of_fit(fitted, residual="WRES")
    with pytest.raises(DataError, match=r"no channel 'lever'\. Did you mean 'level'"):
        plot_goodness_of_fit(fitted, "lever")


@pytest.mark.slow
def test_goodness_of_fit_says_how_many_values_are_censored_and_names_what_lies_far_out(censored):
    table = censored.goodness_of_fit(n=100)
    table.loc[table["censored"] == "", "CWRES"] = 0.0
    far = table.index[table["unique_id"] == IDS[3]][0]
    table.loc[far, "CWRES"] = 3.0
    figure = plot_goodness_of_fit(censored, table=table)
    assert figure.get_suptitle().startswith(f"{table.attrs['n_censored']} of 32 values are beyond a limit")
    assert [text.get_text() for text in figure.axes[2].texts] == [IDS[3]]


@pytest.mark.slow
def test_the_predictive_check_draws_quantiles_their_bands_and_shares_below_the_limit(censored):
    table = censored.visual_predictive_check(n=50, corrected=False)
    above, below = plot_visual_predictive_check(censored, table=table).axes
    median = table[(table["share"] == "") & (table["level"] == 0.5)]
    drawn = {line.get_label(): line for line in above.lines}
    np.testing.assert_array_equal(drawn["observed median"].get_ydata(), median["observed"])
    boxes = [box for box in above.patches if box.get_facecolor()[:3] == matplotlib.colors.to_rgb("C3")]
    seen = median.dropna(subset=["lower", "upper"])
    np.testing.assert_allclose([box.get_y() for box in boxes], seen["lower"])
    np.testing.assert_allclose([box.get_x() for box in boxes], seen["from"])
    shares = table[table["share"] == "below"]
    np.testing.assert_array_equal(points(below)[1], shares["observed"])
    assert below.get_xlabel() == "time since the start (hours)"


@pytest.mark.slow
def test_the_predictive_check_says_when_it_is_corrected(fitted):
    (axis,) = plot_visual_predictive_check(fitted, n=20).axes
    assert axis.get_ylabel() == "level, prediction-corrected"
    assert axis.get_xlabel() == "ds since the start"
    assert axis.get_yscale() == "log"


@pytest.mark.slow
def test_effects_are_drawn_beside_covariates_of_fit_and_others(fitted):
    effects = fitted.individual_effects()
    (axis,) = plot_effects(fitted).axes
    x, y = points(axis)
    np.testing.assert_array_equal(x, effects["weight"])
    np.testing.assert_array_equal(y, effects["eta_cl"])
    assert axis.get_ylabel().startswith("effect on cl (sd)")
    other = pd.DataFrame({"unique_id": IDS[::-1], "sex": list("FMFMFMFM"), "age": np.arange(8.0)})
    sex, age = plot_effects(fitted, static=other).axes
    assert [tick.get_text() for tick in sex.get_xticklabels()] == ["F", "M"]
    np.testing.assert_array_equal(points(age)[0], np.arange(8.0)[::-1])


@pytest.mark.slow
def test_effects_without_covariates_ask_for_some_by_name(censored, fitted):
    with pytest.raises(ParameterError, match="static= with a row a series"):
        plot_effects(censored)
    with pytest.raises(DataError, match="no row of series 'patient 7'"):
        plot_effects(fitted, static=pd.DataFrame({"unique_id": IDS[:7], "age": 1.0}))
    with pytest.raises(DataError, match=r"no covariate 'weigth'\. Did you mean 'weight'"):
        plot_effects(fitted, ["weigth"])


@pytest.mark.slow
def test_profiles_are_drawn_through_their_points_up_to_the_rise_that_ends_the_interval(fitted):
    profiles = fitted.profile(level=90)
    intervals, curves = profiles
    figure = plot_profiles(profiles)
    assert [axis.get_title() for axis in figure.axes] == ["cl", "omega_cl"]
    for axis, name in zip(figure.axes, intervals.index):
        own = curves[curves["parameter"] == name].sort_values("value")
        at = points(axis)
        np.testing.assert_allclose(at[0], own["value"])
        np.testing.assert_allclose(at[1], own["rise"])
        line = axis.lines[0]
        height = np.interp(intervals.loc[name, ["lower", "upper"]].to_numpy(dtype=float), *line.get_data())
        np.testing.assert_allclose(height, intervals.attrs["rise"], rtol=0.05)
    with pytest.raises(ParameterError, match=r"no profile of 'clm'\. Did you mean 'cl'"):
        plot_profiles(profiles, ["clm"])

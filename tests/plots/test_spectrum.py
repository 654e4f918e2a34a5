import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tsode.errors import ParameterError
from tsode.plots import plot_growth, plot_spectrum


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def spectrum(**columns) -> pd.DataFrame:
    index = pd.RangeIndex(1, 4, name="exponent")
    return pd.DataFrame({"exponent_per_hour": [0.9, 0.0, -14.0], "standard_error": 0.1, **columns}, index)


def growth(ids=("a",), times=(1.0, 2.0, 4.0), start=0.0, **columns) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"unique_id": one, "ds": [start + t for t in times], "lead": list(times),
                      "log_growth": np.log(10.0) * np.array([1.0, 2.0, 3.0]), **columns})
        for one in ids
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def test_exponents_along_which_errors_grow_have_a_colour_of_their_own():
    ax = plot_spectrum(spectrum())
    drawn = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
    assert drawn["errors grow"] == [0.9]
    assert drawn["errors do not grow"] == [0.0, -14.0]
    assert ax.get_ylabel() == "growth rate of errors (per hour)"


def test_bars_are_the_band_of_a_posterior_where_there_is_one():
    ax = plot_spectrum(spectrum(q05=[-0.2, -0.1, -15.0], q95=[2.0, 0.1, -13.0]))
    assert "errors grow" not in [line.get_label() for line in ax.lines]
    heights = sorted(tuple(path.vertices[:, 1]) for one in ax.collections for path in one.get_paths())
    assert heights == [(-15.0, -13.0), (-0.2, 2.0), (-0.1, 0.1)]


def test_of_several_series_one_has_to_be_named():
    table = pd.concat([spectrum().reset_index().assign(unique_id=one) for one in "ab"])
    table = table[["unique_id", "exponent", "exponent_per_hour", "standard_error"]]
    with pytest.raises(ParameterError, match="2 series labels"):
        plot_spectrum(table)
    assert len(plot_spectrum(table, series="b").lines) > 1


def test_a_table_of_something_else_is_refused():
    with pytest.raises(ParameterError, match="pass what lyapunov_spectrum gave"):
        plot_spectrum(pd.DataFrame({"x": [1.0]}))
    with pytest.raises(ParameterError, match=r"pass what finite_time_exponents\(forecaster\) gave"):
        plot_growth(pd.DataFrame({"x": [1.0]}))


def test_the_horizon_is_marked_where_an_error_has_grown_by_the_tolerance_in_both_axes():
    above, below = plt.subplots(2)[1]
    ax = plot_growth(growth(), tolerance=10**1.5, fan=above, ax=below)
    for each in (ax, above):
        mark = next(line for line in each.lines if str(line.get_label()).startswith("grown"))
        assert mark.get_xdata()[0] == pytest.approx(1.5)
    curve = next(line for line in ax.lines if line.get_label() == "growth of a small error")
    np.testing.assert_allclose(curve.get_xdata(), [0.0, 1.0, 2.0, 4.0])
    np.testing.assert_allclose(curve.get_ydata(), [1.0, 10.0, 100.0, 1000.0])


def test_an_error_that_does_not_grow_as_far_has_no_mark():
    ax = plot_growth(growth(), tolerance=1e6)
    assert not [line for line in ax.lines if str(line.get_label()).startswith("grown")]


def test_dates_and_bands_are_drawn():
    table = growth(log_growth_q05=0.5, log_growth_q95=9.0)
    table["lead"] = pd.to_timedelta(table["lead"], unit="h")
    table["ds"] = pd.Timestamp("2024-03-01") + table["lead"]
    ax = plot_growth(table, tolerance=100.0)
    assert len(ax.collections) == 1
    mark = next(line for line in ax.lines if str(line.get_label()).startswith("grown"))
    assert mark.get_xdata()[0].hour == 2


def test_a_tolerance_of_no_growth_is_refused():
    with pytest.raises(ParameterError, match="must be above 1"):
        plot_growth(growth(), tolerance=1.0)

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tsode.errors import DataError, ParameterError
from tsode.estimators.crossings.forecast import CrossingForecast
from tsode.plots import plot_crossing, plot_crossing_calibration

CLOCK = pd.Timestamp("2024-01-01", tz="Europe/Berlin") + pd.to_timedelta(np.arange(3), unit="h")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


PLAIN = np.arange(3.0)


def forecast(ids=("a",), times=PLAIN) -> CrossingForecast:
    """Level "high" is crossed with .2 and .6 by the two times after the start, "low" with .1 and .3."""
    starts, rows, quantiles = [], [], []
    for key in ids:
        for level, ps in (("high", (0.2, 0.6)), ("low", (0.1, 0.3))):
            starts.append((key, times[0], level, 5.0, "up" if level == "high" else "down", 0.0, 100))
            rows += [(key, t, level, p, 0.02, p) for t, p in zip(times[1:], ps)]
            quantiles += [(key, times[1], level, 0.2, False), (key, None, level, 0.9, True)]
    starts, rows, quantiles = (
        pd.DataFrame(table, columns=["unique_id", "ds", "level", *names]).astype({"ds": getattr(times, "dtype", float)})
        for table, names in (
            (starts, ["value", "direction", "beyond", "n_paths"]), (rows, ["probability", "error", "reached"]),
            (quantiles, ["quantile", "is_censored"]),
        )
    )  # fmt: skip
    first = rows.rename(columns={"probability": "incidence"})
    return CrossingForecast("hr", "signal", rows, quantiles, first, rows, starts)


@pytest.mark.parametrize("times", [PLAIN, CLOCK])
def test_curves_start_at_zero_and_pass_through_the_probabilities(times):
    ax = plot_crossing(forecast(times=times), observed={"low": times[1]})
    curves = [line for line in ax.lines if len(line.get_xdata()) == 3]
    assert [line.get_ydata().tolist() for line in curves] == [[0.0, 0.2, 0.6], [0.0, 0.1, 0.3]]
    assert [line.get_label() for line in curves] == ["high: ↑ 5", "low: ↓ 5"]
    ticks = [line for line in ax.lines if line.get_marker() == "|"]
    assert [line.get_ydata().tolist() for line in ticks] == [[0.2], [0.2]]  # what is censored is not drawn
    assert [line.get_label() for line in ax.lines if line.get_linestyle() == "--"] == ["observed"]
    ax.figure.canvas.draw()


def test_the_band_is_two_errors_either_side():
    ax = plot_crossing(forecast(), first=True)
    heights = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(0.64)
    assert not [line for line in ax.lines if line.get_marker() == "|"]


def test_a_series_and_a_level_that_are_not_there_are_named():
    with pytest.raises(ParameterError, match="say which to draw with series="):
        plot_crossing(forecast(("a", "b")))
    with pytest.raises(DataError, match="no series 'c'"):
        plot_crossing(forecast(("a", "b")), series="c")
    with pytest.raises(DataError, match="observed= has the level 'top'"):
        plot_crossing(forecast(), observed={"top": 1.0})


def test_points_of_calibration_are_shares_of_bins_of_equal_counts():
    said = np.repeat([0.2, 0.7], 10)
    happened = np.array([1] * 3 + [0] * 7 + [1] * 6 + [0] * 4, dtype=float)
    ax = plot_crossing_calibration(np.append(happened, np.nan), np.append(said, 0.5), n_bins=2, label="test")
    curve = next(line for line in ax.lines if line.get_marker() == "o")
    np.testing.assert_allclose(curve.get_xdata(), [0.2, 0.7])
    np.testing.assert_allclose(curve.get_ydata(), [0.3, 0.6])
    assert "n = 20" in curve.get_label()
    bars = ax.collections[0].get_segments()
    np.testing.assert_allclose(bars[0][:, 1], [0.0, 0.2 + 1.96 * np.sqrt(0.16 / 10)])
    with pytest.raises(DataError, match="happened= has 1 entries and probability= 2"):
        plot_crossing_calibration([1.0], [0.2, 0.3])

"""Reliability and PIT of forecasts whose law is known."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from tsode.errors import DataError
from tsode.plots import plot_calibration, plot_pit
from tsode.plots.pairs import pair_by_lead

LEVELS = np.arange(1, 40) / 40
N = 4000


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def example(scale: float = 1.0, n: int = N, kind: str = "float") -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Standard normal truth, forecast as normal with this scale, at leads 1 to n after a history that ends at 0."""
    times = np.arange(1.0, n + 1.0)
    start: object = np.zeros(1)
    if kind == "datetime":
        start = pd.DatetimeIndex(["2024-01-01"])
        times = start[0] + pd.to_timedelta(times, unit="h")
    truth = pd.DataFrame({"unique_id": "a", "ds": times, "x": np.random.default_rng(0).standard_normal(n)})
    columns = {f"x-q-{level:g}": scale * norm.ppf(level) for level in LEVELS}
    history = pd.DataFrame({"unique_id": "a", "ds": start, "x": 0.0})
    return truth, truth[["unique_id", "ds"]].assign(**columns), history


def curve(ax):
    return ax.lines[1].get_xydata()


def test_honest_intervals_lie_on_the_diagonal():
    truth, quantiles, _ = example()
    points = curve(plot_calibration(truth, quantiles))
    np.testing.assert_allclose(points[:, 0], np.arange(1, 20) / 20)
    # six standard errors of a share of 4000 draws
    assert (np.abs(points[:, 1] - points[:, 0]) < 6.0 * np.sqrt(0.25 / N)).all()


def test_intervals_of_half_the_width_hold_what_the_normal_law_says():
    truth, quantiles, _ = example(scale=0.5)
    points = curve(plot_calibration(truth, quantiles, "x"))
    wanted = 2.0 * norm.cdf(0.5 * norm.ppf(0.5 + 0.5 * points[:, 0])) - 1.0
    assert (np.abs(points[:, 1] - wanted) < 6.0 * np.sqrt(0.25 / N)).all()


@pytest.mark.parametrize(("kind", "unit"), [("float", ""), ("datetime", " days")])
def test_there_is_a_line_for_each_group_of_leads(kind, unit):
    ax = plot_calibration(*example(n=96, kind=kind)[:2], history=example(n=96, kind=kind)[2], n_leads=2)
    first, second = [line.get_label() for line in ax.lines[1:]]
    hours = (1, 48, 49, 96)
    a, b, c, d = (f"{h if kind == 'float' else h / 24:.3g}" for h in hours)
    assert (first, second) == (f"{a} to {b}{unit} (n = 48)", f"{c} to {d}{unit} (n = 48)")


def test_the_pit_of_honest_forecasts_is_flat_and_of_forecasts_too_sure_a_u():
    truth, quantiles, _ = example()
    flat = plot_pit(truth, quantiles).patches[-1].get_data().values
    assert flat.mean() == pytest.approx(1.0)
    # each of ten bins holds 400 of 4000: six standard errors of a share of a tenth
    assert (np.abs(flat - 1.0) < 6.0 * np.sqrt(0.09 / N) * 10.0).all()
    sure = plot_pit(*example(scale=0.3)[:2]).patches[-1].get_data().values
    assert min(sure[0], sure[-1]) > 2.0 > 1.0 > sure[4]


def test_the_level_between_quantiles_is_linear_and_beyond_them_in_the_middle_of_the_rest():
    truth = pd.DataFrame({"unique_id": "a", "ds": [1.0, 2.0, 3.0, 4.0], "x": [-1.0, 0.25, 1.0, 9.0]})
    quantiles = truth[["unique_id", "ds"]].assign(**{"x-q-0.2": 0.0, "x-q-0.6": 1.0, "x-q-0.8": 2.0})
    (group,) = pair_by_lead(truth, quantiles)
    np.testing.assert_allclose(group.pit, [0.1, 0.3, 0.6, 0.9])


def test_only_observations_with_a_forecast_count_and_channels_are_pooled():
    truth = pd.DataFrame({"unique_id": ["a", "a", "b"], "ds": [1.0, 2.0, 1.0], "x": [1.0, np.nan, 5.0], "y": 2.0})
    columns = {f"{name}-q-{level}": level for name in "xy" for level in (0.1, 0.9)}
    quantiles = pd.DataFrame({"unique_id": "a", "ds": [1.0, 2.0], **columns})
    (group,) = pair_by_lead(truth, quantiles)
    assert sorted(group.truth) == [1.0, 2.0, 2.0]


def test_what_is_no_forecast_of_the_truth_is_named():
    truth, quantiles, _ = example(n=4)
    with pytest.raises(DataError, match="pass what predict_quantiles gave"):
        plot_calibration(truth, truth)
    with pytest.raises(DataError, match="ask for the rows of truth"):
        plot_pit(truth, quantiles.assign(ds=quantiles["ds"] + 0.5))
    with pytest.raises(DataError, match=r"no pair such as 0\.1 and 0\.9"):
        plot_calibration(truth, quantiles[["unique_id", "ds", "x-q-0.1", "x-q-0.2"]])

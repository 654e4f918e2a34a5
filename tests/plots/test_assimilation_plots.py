"""Plots of ensembles and of what verifies forecasts: they draw the numbers of their tables."""

import math

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tsode import LinearSDEForecaster
from tsode.diagnostics import innovations, rank_histogram, spread_skill
from tsode.errors import DataError, ParameterError
from tsode.plots import plot_innovations, plot_plume, plot_rank_histogram, plot_spread_skill

OU = {"drift": [[-0.3]], "diffusion": [[1.0]], "readout": [[1.0]], "noise": [0.8]}
OU |= {"initial_mean": [0.0], "initial_cov": [[1.0 / 0.6]]}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    f, z, rows = math.exp(-0.3), rng.normal(size=40) / math.sqrt(0.6), []
    for k in range(12):
        z = f * z + math.sqrt((1.0 - f * f) / 0.6) * rng.normal(size=40)
        when = pd.Timestamp("2024-03-01") + pd.Timedelta(k, "h")
        rows.append(pd.DataFrame({"unique_id": np.arange(40), "ds": when, "y": z + 0.8 * rng.normal(size=40)}))
    return pd.concat(rows).sort_values(["unique_id", "ds"], ignore_index=True)


@pytest.fixture(scope="module")
def forecaster(frame):
    return LinearSDEForecaster(system=OU, time_unit="1h", horizon="4h").fit(frame)


def test_a_plume_has_a_line_a_member_and_their_mean(forecaster, frame):
    past = frame[frame["ds"] < "2024-03-01 08:00"]
    paths = forecaster.sample(horizon="4h", context=past, n_samples=7, random_state=0)
    ax = plot_plume(past, paths, series=3, truth=frame)
    own = paths[paths["unique_id"] == 3].pivot(index="sample", columns="ds", values="y").to_numpy()
    drawn = np.array([path.vertices[:, 1] for path in ax.collections[0].get_paths()])
    np.testing.assert_allclose(drawn, own)
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(lines["mean"].get_ydata(), own.mean(axis=0))
    assert set(lines) == {"observed", "came later", "mean", "7 members"}
    np.testing.assert_allclose(
        ax.collections[0].get_paths()[0].vertices[0, 0], matplotlib.dates.date2num(paths["ds"][0])
    )
    with pytest.raises(ParameterError, match="series"):
        plot_plume(past, paths)
    with pytest.raises(DataError, match="pass what sample"):
        plot_plume(past, forecaster.predict(horizon="4h"), series=3)


def test_a_plume_of_a_series_without_ids_is_drawn():
    data = pd.Series(np.sin(np.arange(30.0)), index=np.arange(30.0), name="y")
    paths = LinearSDEForecaster(system=OU).fit(data).sample(times=[30.0, 31.0, 33.0], n_samples=3, random_state=0)
    assert len(plot_plume(data, paths).collections[0].get_paths()) == 3


def test_spread_and_skill_are_points_beside_a_diagonal(forecaster, frame):
    table = spread_skill(forecaster, frame, cutoffs=["2024-03-01 05:00"], horizon="4h")
    ax = plot_spread_skill(table)
    points = next(line for line in ax.lines if len(line.get_xdata()) == len(table) and line.get_marker() == "o")
    np.testing.assert_allclose(points.get_xdata(), table["spread"])
    np.testing.assert_allclose(points.get_ydata(), table["skill"])
    assert [text.get_text() for text in ax.texts] == ["01:00:00", "02:00:00", "03:00:00", "04:00:00"]
    with pytest.raises(DataError, match="pass what spread_skill gave"):
        plot_spread_skill(table.drop(columns="skill"))


def test_innovations_are_drawn_with_their_autocorrelation_and_verdict(forecaster, frame):
    table = innovations(forecaster, frame)
    figure = plot_innovations(table)
    along, lags = figure.axes
    np.testing.assert_allclose(along.lines[1].get_ydata(), table["innovation"])
    assert along.get_title() == f"y: {table.attrs['channels'].loc['y', 'verdict']}"
    # the first of these is the correlation of the table
    assert lags.lines[1].get_ydata()[0] == pytest.approx(table.attrs["channels"].loc["y", "correlation"], rel=1e-9)
    with pytest.raises(DataError, match="pass what innovations"):
        plot_innovations(table.drop(columns="innovation"))


def test_ranks_among_members_are_drawn_with_their_shape(forecaster, frame):
    ranks = rank_histogram(forecaster, frame, cutoffs=["2024-03-01 05:00"], horizon="4h", n_members=19)
    figure = plot_rank_histogram(ranks, n_bins=10)
    axis = figure.axes[0]
    assert sum(patch.get_height() for patch in axis.containers[0]) == len(ranks)
    assert axis.get_xlim() == (0.0, 20.0)
    assert axis.get_title().endswith(ranks.attrs["shape"]["y"])
    with pytest.raises(DataError, match="must divide 20"):
        plot_rank_histogram(ranks, n_bins=15)

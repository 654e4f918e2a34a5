"""Spread against skill, and ranks: of a model that is right, and of ones that are wrong in a known way."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from tests.registries import SMALL_FORECASTERS, fitted
from tsode import LinearSDEForecaster, PointProcessForecaster
from tsode.diagnostics import rank_histogram, spread_skill
from tsode.diagnostics.rank_histogram import _chance, _shape
from tsode.errors import DataError, ParameterError
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")

RATE, NOISE = 0.3, 0.8


def model(factor: float = 1.0) -> LinearSDEForecaster:
    """The law of `data`, or one with the same means and spreads that are so many times as large."""
    system = {"drift": [[-RATE]], "diffusion": [[factor]], "readout": [[1.0]], "noise": [factor * NOISE]}
    system |= {"initial_mean": [0.0], "initial_cov": [[factor**2 / (2 * RATE)]]}
    return LinearSDEForecaster(system=system).fit(data(2, seed=99))


def data(n_series: int, n: int = 13, seed: int = 0) -> pd.DataFrame:
    """Ornstein-Uhlenbeck processes with noise, one time apart."""
    rng = np.random.default_rng(seed)
    f = math.exp(-RATE)
    z = np.empty((n_series, n))
    z[:, 0] = rng.normal(size=n_series) / math.sqrt(2 * RATE)
    for k in range(1, n):
        z[:, k] = f * z[:, k - 1] + math.sqrt((1.0 - f * f) / (2 * RATE)) * rng.normal(size=n_series)
    values = z + NOISE * rng.normal(size=z.shape)
    ids, times = np.repeat(np.arange(n_series), n), np.tile(np.arange(float(n)), n_series)
    return pd.DataFrame({"unique_id": ids, "ds": times, "y": values.ravel()})


ASKED = {"cutoffs": [4.0, 8.0], "horizon": 4.0}


def test_spread_is_skill_where_the_model_is_right_and_half_of_it_where_spreads_are_halved():
    frame = data(300)
    right = spread_skill(model(), frame, **ASKED)
    assert right["lead"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert right["n"].tolist() == [600] * 4
    # six standard errors, which are a few per cent
    assert (np.abs(right["ratio"] - 1.0) < 6 * right["ratio_se"]).all()
    assert (right["ratio_se"] < 0.04).all()
    half = spread_skill(model(0.5), frame, **ASKED)
    np.testing.assert_allclose(half["skill"], right["skill"], rtol=1e-10)
    np.testing.assert_allclose(half["spread"], 0.5 * right["spread"], rtol=1e-10)
    assert (np.abs(half["ratio"] - 0.5) < 6 * half["ratio_se"]).all()


def test_spread_is_the_closed_form_at_each_lead():
    table = spread_skill(model(), data(3, 40), cutoffs=[35.0], horizon=4.0)
    f = math.exp(-RATE)
    variance = 1 / (2 * RATE)
    for _ in range(200):
        before = f * f * variance + (1 - f * f) / (2 * RATE)
        variance = before * NOISE**2 / (before + NOISE**2)
    ahead = [f ** (2 * k) * variance + (1 - f ** (2 * k)) / (2 * RATE) + NOISE**2 for k in (1, 2, 3, 4)]
    np.testing.assert_allclose(table["spread"], np.sqrt(ahead), rtol=1e-8)


def test_by_default_forecasts_reach_as_far_as_the_forecaster_and_do_not_overlap():
    forecaster = model()
    forecaster.horizon_ = 3.0
    table = spread_skill(forecaster, data(4))
    assert table["lead"].tolist() == [1.0, 2.0, 3.0]
    assert table["n"].tolist() == [8] * 3  # cutoffs at 6 and 9


@pytest.mark.slow
def test_the_standard_error_is_that_of_repetitions_though_errors_of_one_cutoff_are_alike():
    tables = [spread_skill(model(), data(60, seed=seed), n_bins=1, **ASKED) for seed in range(60)]
    ratios, errors = (np.array([table[name] for table in tables]) for name in ("ratio", "ratio_se"))
    # the spread of 60 ratios is known to 9 per cent
    assert ratios.std() / np.sqrt((errors**2).mean()) == pytest.approx(1.0, abs=0.3)


def test_bins_of_spread_are_compared_with_the_errors_of_those_forecasts():
    frame = data(300)
    uneven = frame[np.random.default_rng(3).uniform(size=len(frame)) < 0.6]
    table = spread_skill(model(), uneven, by="spread", n_bins=5, **ASKED)
    assert 3 <= len(table) <= 5
    assert table["spread"].is_monotonic_increasing
    assert (np.abs(table["ratio"] - 1.0) < 6 * table["ratio_se"]).all()


@pytest.mark.slow
def test_ranks_are_even_where_the_model_is_right_and_the_shape_names_what_is_wrong():
    frame = data(300)
    right = rank_histogram(model(), frame, **ASKED)
    assert right.attrs["n_ranks"] == 100
    assert right.attrs["chi_square"]["y"] > 1e-3
    assert right["y"].between(0, 99).all()
    assert right.attrs["shape"]["y"] == "flat"
    narrow = rank_histogram(model(0.5), frame, **ASKED)
    wide = rank_histogram(model(2.0), frame, **ASKED)
    low = rank_histogram(model(), frame.assign(y=frame["y"] + 3.0), **ASKED)
    assert narrow.attrs["shape"]["y"] == "U: spread too narrow"
    assert wide.attrs["shape"]["y"] == "dome: spread too wide"
    assert "slope: forecasts too low" in low.attrs["shape"]["y"]
    assert max(one.attrs["chi_square"]["y"] for one in (narrow, wide, low)) < 1e-6
    pd.testing.assert_frame_equal(rank_histogram(model(), frame, **ASKED), right)
    assert not rank_histogram(model(), frame, random_state=1, **ASKED).equals(right)


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("n_ranks", [20, 101])
def test_even_ranks_are_flat_though_those_of_one_block_are_alike(size, n_ranks):
    rng = np.random.default_rng(0)
    chances, shapes = [], []
    for _ in range(400):
        ranks = np.repeat(rng.integers(0, n_ranks, 120), size)
        blocks = np.repeat(np.arange(120), size)
        chances.append(_chance(ranks, blocks, n_ranks))
        shapes.append(_shape(ranks, blocks, n_ranks, chances[-1]))
    # six standard errors of a share of .05 and of .02 among 400
    assert np.mean(np.array(chances) < 0.05) < 0.05 + 6 * math.sqrt(0.05 * 0.95 / 400)
    assert np.mean(np.array(shapes) != "flat") < 0.02 + 6 * math.sqrt(0.02 * 0.98 / 400)


def test_shapes_are_named_by_their_contrasts():
    blocks = np.arange(400)
    u = (np.arange(400) + 0.5) / 400

    def named(level):
        ranks = np.minimum((100 * level).astype(int), 99)
        return _shape(ranks, blocks, 100, _chance(ranks, blocks, 100))

    assert named(u) == "flat"
    rising = (-0.4 + np.sqrt(0.16 + 2.4 * u)) / 1.2  # its density is 1 + .6 (2 x - 1)
    assert named(rising) == "slope: forecasts too low"
    assert named(1.0 - rising) == "slope: forecasts too high"
    assert named(scipy.stats.beta(0.4, 0.4).ppf(u)) == "U: spread too narrow"
    assert named(scipy.stats.beta(2, 2).ppf(u)) == "dome: spread too wide"
    assert named((np.floor(10 * u) + (10 * u % 1.0) / 2) / 10) == "uneven"
    assert _shape(np.arange(3), np.arange(3), 100, math.nan) == "too few values"


KINDS = [name for name in SMALL_FORECASTERS if name.endswith("Forecaster-float64") and name != "AutoForecaster-float64"]


@pytest.mark.parametrize("name", KINDS)
def test_every_forecaster_is_compared_at_the_leads_of_its_dates(name):
    panel = example_panel()
    middle = panel["ds"].sort_values().iloc[len(panel) // 2]
    asked = {"cutoffs": [middle], "horizon": "6h"}
    table = spread_skill(fitted(name), panel, **asked, n_bins=2)
    assert set(table["channel"]) == set(fitted(name).channels_)
    assert table["lead"].between(pd.Timedelta(0), pd.Timedelta("6h")).all()
    assert (table["spread"] > 0).all()
    ranks = rank_histogram(fitted(name), panel, **asked, n_members=9)
    assert ranks.max().max() <= 9
    assert int(ranks.notna().sum().sum()) == table["n"].sum()


def test_wrong_questions_are_told():
    with pytest.raises(ParameterError, match="choose 'lead' or 'spread'"):
        spread_skill(model(), data(2), by="size")
    with pytest.raises(ParameterError, match="n_bins=0"):
        spread_skill(model(), data(2), n_bins=0)
    with pytest.raises(ParameterError, match="at least 2"):
        rank_histogram(model(), data(2), n_members=1)
    with pytest.raises(ParameterError, match="PointProcessForecaster is none"):
        spread_skill(PointProcessForecaster(), data(2))
    with pytest.raises(DataError, match="no observed row"):
        spread_skill(model(), data(2), cutoffs=[60.0], horizon=3.0)

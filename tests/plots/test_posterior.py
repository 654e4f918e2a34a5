from types import SimpleNamespace

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tsode import KnownODEForecaster
from tsode.errors import DataError
from tsode.inference import AdditiveNoise, LogNormal, Normal
from tsode.plots import plot_forest, plot_pairs, plot_prior_posterior


@pytest.fixture(scope="module")
def model():
    data = pd.DataFrame({"ds": [0.5, 1.0, 2.0], "level": [8.0, 6.0, 4.0]})
    return KnownODEForecaster(
        lambda t, z, p: (-p.k * z[:, 0],), states=["drug"], parameters={"k": LogNormal(-1, 0.5)},
        initial={"drug": Normal(10.0, 2.0)}, observed={"level": AdditiveNoise("drug", sd=0.5)}, n_draws=400,
        initial_time=0.0, inference="quadrature", random_state=0,
    ).fit(data)  # fmt: skip


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_each_parameter_has_its_draws_over_the_density_of_its_prior(model):
    figure = plot_prior_posterior(model)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["drug_initial", "k"]
    for axis, law in zip(figure.axes, (Normal(10.0, 2.0), LogNormal(-1, 0.5))):
        x, y = axis.lines[0].get_data()
        assert law.bounds[0] <= x.min()
        assert np.isfinite(y).all()
        area = sum(patch.get_height() * patch.get_width() for patch in axis.patches)
        assert area == pytest.approx(1.0)


def test_a_forest_has_the_quantiles_of_the_draws(model):
    ax = plot_forest(model, ["k"])
    wide, narrow = (line.get_segments()[0][:, 0] for line in ax.collections)
    np.testing.assert_allclose(wide, model.posterior_["k"].quantile([0.05, 0.95]))
    np.testing.assert_allclose(narrow, model.posterior_["k"].quantile([0.25, 0.75]))
    assert [text.get_text() for text in ax.get_yticklabels()] == ["k"]
    with pytest.raises(DataError, match="no parameter 'kk'"):
        plot_forest(model, ["kk"])


def test_pairs_have_the_draws_over_the_prior_and_their_correlation(model):
    figure = plot_pairs(model)
    top, strength, pair, bottom = figure.axes
    draws = model.posterior_
    assert [axis.get_xlabel() for axis in (pair, bottom)] == list(draws)
    x, y = pair.lines[0].get_data()
    np.testing.assert_array_equal(np.column_stack([x, y]), draws.to_numpy())
    assert strength.texts[0].get_text() == f"{draws.corr().iloc[0, 1]:+.2f}"
    for axis, name in ((top, "drug_initial"), (bottom, "k")):
        assert sum(patch.get_height() * patch.get_width() for patch in axis.patches) == pytest.approx(1.0)
        low, high = axis.get_xlim()
        assert low < draws[name].min() < draws[name].max() < high
    with pytest.raises(DataError, match="two parameters or more, but there is k alone"):
        plot_pairs(model, ["k"])


def test_the_grey_regions_of_pairs_hold_their_share_of_the_prior():
    # the axes of draws of the prior itself hold nearly all of it
    rng = np.random.default_rng(0)
    prior = {"a": Normal(0.0, 1.0), "b": Normal(5.0, 2.0)}
    draws = pd.DataFrame({"a": rng.normal(0.0, 1.0, 4000), "b": rng.normal(5.0, 2.0, 4000)})
    pair = plot_pairs(SimpleNamespace(posterior_=draws, priors_=prior)).axes[2]
    outer, inner = (path.contains_points(draws.to_numpy()).mean() for path in pair.collections[0].get_paths())
    # six standard errors of a share of 4,000, and some for the edges of the axes
    assert inner == pytest.approx(0.5, abs=0.055)
    assert min(abs(outer - 0.9), abs(outer - 0.4)) < 0.055  # with the inner one, or without

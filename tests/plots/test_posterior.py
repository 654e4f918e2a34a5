import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tsode import KnownODEForecaster
from tsode.errors import DataError
from tsode.inference import AdditiveNoise, LogNormal, Normal
from tsode.plots import plot_forest, plot_prior_posterior


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

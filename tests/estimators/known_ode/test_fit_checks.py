"""Checks of a fitted known system: replicated data, levels without a value, curves, and what ArviZ reads."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace
from math import exp, lgamma, log

import numpy as np
import pandas as pd
import pytest
import torch

from tests.estimators.known_ode.test_known_ode import LEVELS, TIMES, decay
from tsode import KnownODEForecaster
from tsode.errors import DataError, ParameterError
from tsode.inference import AdditiveNoise, Between, LogNormal, LogNormalNoise, PoissonNoise


def frame(ids=("a",), levels=LEVELS) -> pd.DataFrame:
    return pd.concat([pd.DataFrame({"unique_id": key, "ds": TIMES, "level": levels}) for key in ids], ignore_index=True)


@pytest.fixture(scope="module")
def one() -> KnownODEForecaster:
    return decay(n_draws=4096).fit(frame())


@pytest.fixture(scope="module")
def two() -> KnownODEForecaster:
    """Two series that share k, one of which has a gap."""
    data = frame("ab")
    data.loc[3, "level"] = np.nan
    return decay(n_draws=300, inference="laplace").fit(data)


@pytest.fixture(scope="module")
def counted() -> KnownODEForecaster:
    """Those who left a population of 1,000 since the count before, and a second channel between the counts."""
    data = pd.DataFrame({
        "ds": [1.0, 1.5, 2.0, 4.0], "left": [95.0, np.nan, 86.0, 148.0], "size": [905.0, 861.0, np.nan, np.nan],
    })  # fmt: skip
    left = Between(lambda t_before, z_before, t, z, p: z_before[:, 0] - z[:, 0])
    return decay(
        states=["people"], parameters={"k": LogNormal(log(0.1), 0.1)}, initial={"people": 1000.0}, n_draws=500,
        observed={"left": PoissonNoise(left), "size": LogNormalNoise("people", sd=0.05)}, inference="quadrature",
    ).fit(data)  # fmt: skip


def test_replicated_data_have_the_moments_of_the_posterior_predictive(one):
    drawn = one.posterior_predictive(4000, random_state=0)
    assert drawn.groupby("sample")["ds"].apply(list).iloc[7] == TIMES
    draws = one.posterior_
    mean = draws["drug_initial"] * np.exp(-2.0 * draws["k"])
    at = drawn.loc[drawn["ds"] == 2.0, "level"]
    sd = np.hypot(mean.std(), 0.5)
    # six standard errors of a mean, and of a standard deviation, over 4,000
    assert at.mean() == pytest.approx(mean.mean(), abs=6 * sd / 4000**0.5)
    assert at.std() == pytest.approx(sd, abs=6 * sd / 8000**0.5)


def test_replicated_data_have_the_gaps_of_the_data_and_one_draw_for_all_series(two):
    drawn = two.posterior_predictive(20, random_state=0)
    assert len(drawn) == 20 * 9
    assert drawn["level"].notna().all()
    again = two.posterior_predictive(20, random_state=0)
    pd.testing.assert_frame_equal(drawn, again)
    with pytest.raises(ParameterError, match="n_samples=0"):
        two.posterior_predictive(0)


def test_levels_without_a_value_are_those_of_quadrature(one):
    # the law of each value given the other four, on a grid of k and A
    k, a = np.meshgrid(np.linspace(0.05, 1.5, 600), np.linspace(2.0, 18.0, 500))
    prior = -0.5 * ((np.log(k) - log(0.5)) / 0.5) ** 2 - np.log(k) - 0.5 * ((a - 10.0) / 2.0) ** 2
    paths = [a * np.exp(-k * t) for t in TIMES]
    scores = [-0.5 * ((y - path) / 0.5) ** 2 for y, path in zip(LEVELS, paths)]
    truth = []
    for i, y in enumerate(LEVELS):
        weight = np.exp(prior + sum(scores) - scores[i])
        below = 0.5 * (1.0 + torch.erf(torch.from_numpy((y - paths[i]) / 0.5 / 2**0.5)).numpy())
        truth.append((weight * below).sum() / weight.sum())
    assert set(one.summary()["engine"]) == {"quadrature"}
    np.testing.assert_allclose(one.loo_pit()["pit"], truth, atol=1e-4)
    weighted = decay(inference="importance").fit(frame())
    np.testing.assert_allclose(weighted.loo_pit()["pit"], truth, atol=0.02)
    np.testing.assert_array_equal(weighted.loo_pit()["k"], weighted.loo()["k"])


def test_levels_of_counts_and_beyond_a_limit_are_drawn_from_their_range(counted, monkeypatch):
    def ends(model):
        levels = []
        for share in (torch.zeros, torch.ones):
            monkeypatch.setattr(torch, "rand", lambda n, share=share, **settings: share(n, dtype=torch.float64))
            levels.append(model.loo_pit().set_index("channel")["pit"])
        monkeypatch.undo()
        return levels

    low, high = ends(counted)
    np.testing.assert_array_equal(low["size"], high["size"])
    # the mass of a count in a Poisson law of about as many
    mass = [exp(n * log(n) - n - lgamma(n + 1)) for n in (95, 86, 148)]
    np.testing.assert_allclose(high["left"] - low["left"], mass, rtol=0.5)
    limited = decay(observed={"level": AdditiveNoise("drug", sd=0.5, below=1.0)}, inference="laplace").fit(frame())
    low, high = ends(limited)
    draws = limited.posterior_
    mean = torch.tensor((draws["drug_initial"] * np.exp(-6.0 * draws["k"])).tolist())
    below = 0.5 * (1.0 + torch.erf((1.0 - mean) / 0.5 / 2**0.5)).mean()
    assert low.iloc[-1] == 0.0
    assert high.iloc[-1] == pytest.approx(float(below), abs=0.1)  # which knows the value, the level does not


def test_curves_are_the_posterior_of_the_prediction_and_bands_hold_their_share(one):
    curves = one.fitted_curves(n_times=13, level=80, n_draws=4096).set_index("ds")
    assert set(TIMES) <= set(curves.index)
    assert curves.index[0] == 0.0
    draws = one.posterior_
    at = draws["drug_initial"] * np.exp(-2.0 * draws["k"])
    row = curves.loc[2.0]
    assert row["level"] == pytest.approx(at.mean(), rel=1e-6)
    assert row["level-state-lo-80"] == pytest.approx(at.quantile(0.1), rel=1e-6)
    assert row["level-state-hi-80"] == pytest.approx(at.quantile(0.9), rel=1e-6)
    above = torch.tensor(((row["level-hi-80"] - at) / 0.5 / 2**0.5).tolist())
    share = 0.5 * (1.0 + torch.erf(above)).mean()
    assert float(share) == pytest.approx(0.9, abs=1e-6)
    with pytest.raises(DataError, match="no series 'b' in fit"):
        one.fitted_curves(["b"])
    with pytest.raises(ParameterError, match="level=0"):
        one.fitted_curves(level=0)


def test_curves_of_a_series_do_not_depend_on_which_are_asked_for(two):
    both, alone = two.fitted_curves(), two.fitted_curves(["b"])
    pd.testing.assert_frame_equal(both[both["unique_id"] == "b"].reset_index(drop=True), alone)


def test_curves_stand_before_and_after_a_dose():
    doses = pd.DataFrame({"unique_id": "a", "ds": [2.0], "amount": [5.0], "target": ["drug"]})
    model = decay(n_draws=64, inference="laplace").fit(frame(), events=doses)
    curves = model.fitted_curves()
    near = curves[(curves["ds"] - 2.0).abs() < 1e-4]["level"].to_numpy()
    assert len(near) == 2
    assert near[1] - near[0] == pytest.approx(5.0, abs=1e-3)


def test_counts_between_times_are_those_since_the_count_before(counted):
    # not since the row at 1.5, where only the other channel was seen
    k = counted.posterior_["k"].iloc[:200]
    curves = counted.fitted_curves(n_draws=200).set_index("ds")
    wanted = 1000.0 * (np.exp(-1.0 * k) - np.exp(-2.0 * k)).mean()
    assert curves.loc[2.0, "left"] == pytest.approx(wanted, rel=1e-5)
    assert curves["left"].dropna().index.tolist() == [0.0, 1.0, 2.0, 4.0]
    assert curves["size"].notna().all()
    drawn = counted.posterior_predictive(2000, random_state=0)
    assert drawn[drawn["ds"] == 1.5]["left"].isna().all()
    # six standard errors: sd of a Poisson of 86, and some for k, over 2,000
    assert drawn.loc[drawn["ds"] == 2.0, "left"].mean() == pytest.approx(wanted, abs=6 * 12 / 2000**0.5)


# -- ArviZ -------------------------------------------------------------------------------------------------------------


def test_without_xarray_the_error_names_the_extra(one, monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match=r'pip install "tsode\[arviz\]"'):
        one.to_datatree()


def test_a_datatree_holds_draws_values_and_their_likelihood(two):
    pytest.importorskip("xarray")
    tree = two.to_datatree()
    assert set(tree.children) == {
        "posterior", "posterior_predictive", "log_likelihood", "sample_stats", "observed_data"
    }  # fmt: skip
    posterior, draws = tree["posterior"], two.posterior_
    np.testing.assert_array_equal(posterior["k"].values, draws[["k"]].T)
    assert posterior["drug_initial"].dims == ("chain", "draw", "unique_id")
    own = posterior["drug_initial"].sel(unique_id="b").values
    np.testing.assert_array_equal(own, draws[["drug_initial[b]"]].T)
    likelihood, cells = tree["log_likelihood"]["level"], two.log_likelihood_
    assert likelihood.dims == ("chain", "draw", "level_cell")
    np.testing.assert_allclose(likelihood.values[0], cells.to_numpy(), rtol=1e-12)
    assert list(tree["observed_data"]["level_series"].values) == list(cells.columns.get_level_values("unique_id"))
    assert tree["posterior_predictive"]["level"].shape == likelihood.shape
    assert tree["sample_stats"]["lp"].shape == (1, 300)


def test_chains_come_as_they_were_run():
    pytest.importorskip("xarray")
    model = copy.copy(decay(inference="laplace").fit(frame()))
    nodes = model._kept.nodes
    model._kept = replace(model._kept, engine=("hmc",), log_weights=torch.full(nodes.shape[:2], -log(nodes.shape[1])))
    posterior = model.to_datatree()["posterior"]
    values = model._density.space.constrain(nodes)[0]
    assert posterior["k"].dims == ("chain", "draw")
    np.testing.assert_array_equal(posterior["k"].values, values[:, 1].reshape(64, -1))


@pytest.mark.slow
def test_arviz_reads_the_same_means_and_standard_deviations():
    stats = pytest.importorskip("arviz_stats")
    model = decay(inference="hmc").fit(frame())
    found, table = stats.summary(model.to_datatree(), round_to="none").astype(float), model.summary()
    np.testing.assert_allclose(found.loc[table.index, "mean"], table["mean"], rtol=1e-9)
    np.testing.assert_allclose(found.loc[table.index, "sd"], table["sd"], rtol=1e-3)  # of n - 1
    assert (found["r_hat"] < 1.02).all()

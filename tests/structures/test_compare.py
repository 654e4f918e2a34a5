"""Comparisons of structures: the true one is found, equivalent ones are named, and what data do not say stays open."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import tsode
from tests.structures.networks import EDGES, data, forecaster, hill
from tsode.errors import ParameterError, SolverError
from tsode.inference.noise import AdditiveNoise, LogNormalNoise
from tsode.inference.priors import HalfNormal, LogNormal, Normal
from tsode.structures.forecaster import shares_of
from tsode.structures.scores import GAP, stack


@pytest.fixture(scope="module")
def informative():
    rows = data({"xy": 0.8, "zx": -0.7}, sd=0.002, n=20)
    return tsode.compare_structures(forecaster(), EDGES, rows, random_state=0)


@pytest.fixture(scope="module")
def open_question():
    """Three structures share the probability."""
    rows = data({"xy": 0.5, "yx": 0.15}, sd=0.1, n=6)
    return tsode.compare_structures(forecaster(sd=0.1), EDGES, rows, forbidden=["x->z", "z->x"], random_state=0)


@pytest.mark.slow
def test_the_true_structure_is_found_among_16(informative):
    assert informative.table.index[0] == "x->y + z->x"
    assert informative.table["probability"].iloc[0] > 0.95
    assert (informative.inclusion.loc[["x->y", "z->x"], "stacking"] > 0.95).all()
    assert len(informative.table) == 16
    inclusion = informative.inclusion["probability"]
    assert (inclusion[["x->y", "z->x"]] > 0.999).all()
    assert (inclusion[["y->x", "x->z"]] < 0.04).all()
    assert "'x->y + z->x'" in informative.summary()


@pytest.mark.slow
def test_the_true_structure_is_found_where_rates_are_nonlinear_and_strengths_positive():
    rows = data({"xz": 0.9, "zx": 0.6}, hill, sd=0.002, n=24, seed=3)
    found = tsode.compare_structures(forecaster(hill, strength=LogNormal(-0.5, 0.7)), EDGES, rows, random_state=1)
    assert found.table.index[0] == "x->z + z->x"
    assert found.table["probability"].iloc[0] > 0.95


@pytest.mark.slow
def test_structures_that_a_hidden_node_makes_equal_are_named_as_equivalent():
    """Of y and z only the sum is seen: which of them is in the loop cannot be told."""
    seen = ("x", "total")
    rows = data({"xy": 0.8, "yx": -0.7}, seen=seen)
    both = [["x->y", "y->x"], ["x->z", "z->x"], ["x->y"], []]
    found = tsode.compare_structures(forecaster(seen=seen), EDGES, rows, candidates=both, random_state=0)
    p = found.table["probability"]
    assert abs(p["x->y + y->x"] - p["x->z + z->x"]) <= 0.02
    (alike,) = found.classes
    assert set(alike.structures) == {"x->y + y->x", "x->z + z->x"}
    assert alike.kind == "equivalent"
    assert "equivalent" in found.summary()


@pytest.mark.slow
def test_structures_that_only_these_data_do_not_tell_apart_are_not_called_equivalent():
    rows = data({"xy": 0.8}, n=2, sd=0.01)
    found = tsode.compare_structures(
        forecaster(sd=100.0), {name: EDGES[name] for name in ("x->y", "x->z")}, rows, random_state=0
    )
    (alike,) = found.classes
    assert len(alike.structures) == 4
    assert alike.kind == "not told apart"


@pytest.mark.slow
def test_data_without_information_leave_the_prior():
    rows = data({"xy": 0.8}, n=3)
    found = tsode.compare_structures(forecaster(sd=300.0), EDGES, rows, prior={"x->y": 0.2}, random_state=0)
    assert (found.table["probability"] - found.table["prior"]).abs().max() < 0.002
    assert found.inclusion.loc["x->y", "prior"] == pytest.approx(0.2)
    assert found.inclusion["log_bayes_factor"].abs().max() < 0.02


@pytest.mark.slow
def test_forecasts_are_the_mixture_of_the_structures(open_question):
    """Means and variances are those of the law of total variance, up to the choice of 1,000 draws of all."""
    found = open_question
    names, share = found._weighted("evidence")
    assert len(names) > 1
    times = [0.5, 6.0]
    means = np.stack([found.member(name).predict(times=times)["y"].to_numpy() for name in names])
    spreads = np.stack([found.member(name).predict_spread(times=times)["y-sd"].to_numpy() for name in names])
    mean = share @ means
    variance = share @ (spreads**2 + (means - mean) ** 2)
    of_all = found.forecaster()
    spread = of_all.predict_spread(times=times)
    np.testing.assert_allclose(of_all.predict(times=times)["y"], mean, atol=6 * np.sqrt(variance.max() / 1000))
    np.testing.assert_allclose(spread["y-sd"], np.sqrt(variance), rtol=0.02)
    paths = of_all.sample(times=times, n_samples=4000, random_state=0)
    drawn = paths[paths["ds"] == 6.0]["y"]
    # mean of 4,000 draws: six standard errors
    assert abs(drawn.mean() - mean[1]) < 6 * np.sqrt(variance[1] / 4000)
    assert abs(drawn.quantile(0.9) - of_all.predict_quantiles(times=times)["y-q-0.9"].iloc[1]) < 0.02


def test_members_are_fitted_forecasters_with_the_evidence_of_the_table(open_question):
    name = open_question.table.index[1]
    model = open_question.member(name)
    assert model.log_evidence_ == pytest.approx(open_question.table.loc[name, "log_evidence"])
    again = model.fit(data({"xy": 0.5, "yx": 0.15}, sd=0.1, n=6))
    se = open_question.table.loc[name, "log_evidence_se"]
    assert abs(again.log_evidence_ - open_question.table.loc[name, "log_evidence"]) < 6 * se + 1e-3


def test_rows_that_come_later_reach_every_structure(open_question):
    model = open_question.forecaster()
    before = model.predict(times=[7.0])["y"].iloc[0]
    more = pd.DataFrame({"unique_id": ["a"], "ds": [6.0], "x": [before / 2], "y": [before + 0.2], "z": [0.05]})
    after = model.update(more).predict(times=[7.0])["y"].iloc[0]
    assert after > before
    with pytest.raises(ParameterError, match="compare_structures"):
        model.update(more, refit=True)


def test_the_next_observation_is_where_structures_disagree():
    """With y -> x or without it, x differs late; z is the same by both."""
    rows = data({"xy": 0.5}, sd=0.05, n=3, last=0.6)
    found = tsode.compare_structures(forecaster(sd=0.05), {"y->x": "yx", "x->y": "xy"}, rows, always=["x->y"],
                                     random_state=0)  # fmt: skip
    table = found.next_observation(times=[0.8, 3.0])
    assert table.loc[0, ["ds", "channel"]].tolist() == [3.0, "x"]
    assert table.loc[0, "information"] > 10 * table.loc[0, "se"] > 0
    of_z = table[table["channel"] == "z"]
    assert (of_z["information"].abs() < 6 * of_z["se"] + 1e-3).all()
    assert (table["information"] <= table["of"]).all()
    joint = found.next_observation(times=[3.0], together=True)
    assert joint.loc[0, "information"] > table.loc[0, "information"] - 6 * joint.loc[0, "se"]


@pytest.mark.slow
def test_one_law_is_chosen_of_several_and_what_it_does_not_read_is_not_counted():
    def exponential(t, z, p):
        return (-p.rate * z[:, 0])[:, None]

    def saturating(t, z, p):
        return (-p.rate * z[:, 0] / (p.half + z[:, 0]))[:, None]

    model = tsode.KnownODEForecaster(
        exponential,
        states=["x"],
        parameters={"rate": LogNormal(0, 0.5), "half": LogNormal(-2, 0.5), "sd": 0.01},
        initial={"x": 1.0},
        observed={"x": AdditiveNoise("x", sd="sd")},
        initial_time=0.0,
    )
    t = np.linspace(0.2, 3.0, 10)
    rows = pd.DataFrame({"unique_id": "a", "ds": t, "x": np.exp(-0.8 * t)})
    laws = {"exponential": exponential, "saturating": saturating}
    found = tsode.compare_structures(model, {"law": laws}, rows, random_state=0)
    assert found.table.loc["law: exponential", "probability"] > 0.999
    assert found.table["n_parameters"].to_dict() == {"law: exponential": 1, "law: saturating": 2}
    assert found.inclusion["probability"].sum() == pytest.approx(1.0)

    def broken(t, z, p):
        raise ZeroDivisionError("of this law")

    found = tsode.compare_structures(model, {"law": {**laws, "broken": broken}}, rows, random_state=0)
    failed = found.table.loc["law: broken"]
    assert failed["probability"] == 0.0
    assert "ZeroDivisionError: of this law" in failed["status"]
    with pytest.raises(ParameterError, match="has no posterior"):
        found.member("law: broken")


def test_a_structure_without_a_finite_density_has_a_status():
    """The pull takes x below zero before the first value, of which log-normal noise cannot be."""
    model = tsode.KnownODEForecaster(
        lambda t, z, p: (-p.pull - p.decay * z[:, 0])[:, None],
        states=["x"],
        parameters={"pull": LogNormal(3.0, 0.1), "decay": LogNormal(0, 0.5)},
        initial={"x": 1.0},
        observed={"x": LogNormalNoise("x", sd=0.1)},
        initial_time=0.0,
    )
    rows = pd.DataFrame({"unique_id": "a", "ds": [1.0, 2.0], "x": [0.37, 0.14]})
    found = tsode.compare_structures(model, {"pull": "pull"}, rows, random_state=0)
    assert found.table.loc["none", "probability"] == 1.0
    assert "failed" in found.table.loc["pull", "status"]
    assert "have no posterior" in found.summary()
    with pytest.raises(SolverError, match="None of 1 structures"):
        tsode.compare_structures(model, {"pull": "pull"}, rows, always=["pull"], random_state=0)


def test_stacking_weights_give_the_highest_score():
    rng = np.random.default_rng(0)
    log_density = torch.from_numpy(rng.normal(size=(50, 3)) - 1.0)
    weights = stack(log_density)
    grid = torch.cartesian_prod(torch.linspace(0, 1, 201), torch.linspace(0, 1, 201)).double()
    grid = torch.cat([grid, 1.0 - grid.sum(dim=1, keepdim=True)], dim=1)
    grid = grid[grid[:, 2] >= 0]
    best = (log_density.exp() @ grid.mT).log().mean(dim=0).max()
    own = (log_density.exp() @ weights).log().mean()
    assert float(own) > float(best) - GAP
    even = stack(torch.cat([log_density, torch.full((50, 1), -torch.inf).double()], dim=1))
    assert float(even[3]) == 0.0
    same = stack(log_density[:, :1].expand(-1, 4))
    torch.testing.assert_close(same, torch.full((4,), 0.25).double())


def test_draws_are_dealt_out_by_weight():
    assert shares_of(np.array([0.5, 0.3, 0.2]), 10).tolist() == [5, 3, 2]
    assert shares_of(np.array([0.999, 0.001]), 7, 0.9).sum() == 7


# -- limits and errors -------------------------------------------------------------------------------------------------


def names_of(**limits):
    rows = data({"xy": 0.8}, n=2)
    found = tsode.compare_structures(forecaster(sd=300.0), EDGES, rows, random_state=0, inference="laplace", **limits)
    return found.table


def test_limits_leave_the_structures_that_they_allow():
    table = names_of(always=["x->y"], forbidden=["y->x"])
    assert set(table.index) == {"x->y", "x->y + x->z", "x->y + z->x", "x->y + x->z + z->x"}
    assert table["prior"].to_list() == pytest.approx([0.25] * 4)
    table = names_of(groups=[["x->y", "y->x"], ["x->z", "z->x"]], prior=0.1)
    assert table["prior"].sort_index().to_dict() == pytest.approx(
        {"none": 0.81, "x->y + y->x": 0.09, "x->z + z->x": 0.09, "x->y + y->x + x->z + z->x": 0.01}
    )
    table = names_of(candidates=[["x->y"], {"x->z": True}], prior=lambda choices: 3.0 if choices["x->y"] else 1.0)
    assert table["prior"].to_dict() == pytest.approx({"x->y": 0.75, "x->z": 0.25})


@pytest.mark.parametrize(
    ("edges", "limits", "what"),
    [
        ({"x->y": "xyy"}, {}, "names 'xyy', which is no parameter. Did you mean 'xy'"),
        ({}, {}, "dict of an edge's name"),
        ({"x->y": 3}, {}, "must be the name of the parameter"),
        ({"law": {"one": lambda t, z, p: z}}, {}, "one law alone"),
        ({"x->y": "xy"}, {"always": ["y->x"]}, "always= names 'y->x', which is no edge"),
        ({"x->y": "xy"}, {"always": ["x->y"], "forbidden": ["x->y"]}, "in always= and in forbidden="),
        ({"x->y": "xy"}, {"prior": 1.5}, "between 0 and 1"),
        ({"x->y": "xy"}, {"candidates": [["z"]]}, "candidates= names 'z'"),
        ({"x->y": "xy"}, {"inference": "mode"}, "has no evidence"),
    ],
)
def test_what_cannot_be_read_is_named(edges, limits, what):
    with pytest.raises(ParameterError, match=what):
        tsode.compare_structures(forecaster(), edges, data({}, n=2), **limits)


def test_models_without_such_an_evidence_are_named():
    with pytest.raises(ParameterError, match="not a LinearSDEForecaster"):
        tsode.compare_structures(tsode.LinearSDEForecaster(), EDGES, data({}, n=2))
    model = forecaster(random_effects=["xy"])
    with pytest.raises(ParameterError, match="random_effects= has no evidence"):
        tsode.compare_structures(model, EDGES, data({}, n=2))
    with pytest.raises(ParameterError, match="needs data"):
        tsode.compare_structures(forecaster(), EDGES)


@pytest.mark.slow
def test_stochastic_systems_are_compared_by_their_filters():
    """Linear with normal noise: the evidence of a structure is that of the same model fitted by itself."""
    model = tsode.KnownSDEForecaster(
        lambda t, z, p: (-z[:, 0] + p.u * z[:, 1], p.v * z[:, 0] - z[:, 1]),
        states=["x", "y"],
        parameters={"u": Normal(0, 1), "v": Normal(0, 1)},
        initial={"x": Normal(1, 0.1), "y": Normal(0, 0.1)},
        observed={c: AdditiveNoise(c, sd=0.05) for c in "xy"},
        process_noise={"x": HalfNormal(0.2), "y": 0.1},
        filter="extended",
        random_state=0,
    )
    rng = np.random.default_rng(0)
    z, rows = np.array([1.0, 0.0]), []
    for n in range(2001):
        if n % 100 == 0:
            rows.append((0.01 * n, *(z + 0.05 * rng.standard_normal(2))))
        z = z + 0.01 * np.array([-z[0], 1.5 * z[0] - z[1]]) + 0.1 * 0.1 * rng.standard_normal(2)
    X = pd.DataFrame(rows, columns=["ds", "x", "y"]).assign(unique_id="a")
    found = tsode.compare_structures(model, {"y->x": "u", "x->y": "v"}, X, random_state=0)
    assert found.inclusion.loc["x->y", "probability"] > 0.99
    own = found.table.loc["y->x + x->y"]
    assert abs(model.fit(X).log_evidence_ - own["log_evidence"]) < 6 * own["log_evidence_se"] + 0.02
    assert found.predict(times=[21.0])[["x", "y"]].notna().to_numpy().all()

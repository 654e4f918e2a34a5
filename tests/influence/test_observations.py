"""Influence of single observations beside minima and posteriors without them."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import spearmanr

from tests.influence.scenes import ou_panel
from tsode import JumpODEForecaster, KnownODEForecaster, LastValueForecaster, LinearSDEForecaster
from tsode.core.series import collate
from tsode.errors import DataError, ParameterError
from tsode.inference import AdditiveNoise, LogNormal
from tsode.influence import influence
from tsode.influence.left_out import LeftOut, each_observation
from tsode.influence.proximal import ProximalObjective
from tsode.influence.series_influence import held_objective, moved_to

LABELS = ["series", "time", "observed"]


@pytest.fixture(scope="module")
def linear():
    return LinearSDEForecaster(n_state=1, max_epochs=3, random_state=0).fit(ou_panel(6, 10))


@pytest.fixture(scope="module")
def jump():
    small = {"max_epochs": 1, "n_modes": 4, "n_static": 2, "n_hidden": 8, "expert": None, "n_members": 1}
    return JumpODEForecaster(**small, horizon=2.0, random_state=0).fit(ou_panel(10, 8))


def test_a_value_left_out_leaves_the_likelihood_of_the_series_without_its_row(linear):
    (series, *_) = linear.reader_.series(linear._panel)
    module = copy.deepcopy(linear.module_).double()
    gone = np.arange(len(series.times)) != 4
    shorter = type(series)(series.times[gone], series.values[gone], series.input_times, series.inputs)
    rest = LeftOut(0, 4).rest(series)
    assert rest is not None
    with torch.no_grad():
        ours, theirs, whole = (float(module.loss(collate([one], torch.float64))) for one in (rest, shorter, series))
    assert ours == pytest.approx(theirs, abs=1e-9)
    assert abs(ours - whole) > 1e-3


@pytest.mark.slow
def test_warm_minima_of_a_linear_sde_are_those_that_another_search_finds(linear):
    objective = ProximalObjective(linear.module_, linear.reader_.series(linear._panel), linear.max_context)

    def least(out):
        rest = objective.rest(out)

        def value(x):
            loss, slope = objective.value(torch.tensor(x), rest)
            return loss, slope.numpy()

        found = minimize(value, objective.centre.numpy(), jac=True, method="L-BFGS-B", options={"gtol": 1e-8})
        return moved_to(linear, objective, torch.tensor(found.x)).predict(horizon=2.0)["y"].to_numpy()

    base, parts = least(None), each_observation(linear._panel, ["s02"])[::3]
    truth = np.array([np.sqrt(np.mean((least(out) - base) ** 2)) for out in parts])
    warm = influence(linear, horizon=2.0, of="observations", series="s02", method="warm")
    assert (warm["status"] == "ok").all()
    np.testing.assert_allclose(warm.sort_values("time")["rms"][::3], truth, rtol=2e-2, atol=2e-5)


@pytest.mark.slow
def test_one_newton_step_ranks_observations_of_a_linear_sde_as_searches_do(linear):
    found = {
        method: influence(linear, horizon=2.0, of="observations", series="s03", method=method)
        for method in ("implicit", "warm")
    }
    found = {method: table.set_index(LABELS)["rms"] for method, table in found.items()}
    assert len(found["warm"]) == 10
    assert spearmanr(found["implicit"].loc[found["warm"].index], found["warm"]).statistic > 0.95


def test_windows_hide_a_value_of_its_own_series_alone(jump):
    objective = held_objective(jump)
    out = LeftOut(3, 0)
    window = objective._without(out)
    is_own = objective._number == 3
    time = objective._series[3].times[0]
    assert bool((objective._window.context.times[is_own] == time).any())
    shown = window.context.mask[is_own] & (window.context.times[is_own] == time)[..., None]
    assert not bool(shown.any())
    others = ~is_own
    assert torch.equal(window.context.mask[others], objective._window.context.mask[others])
    assert torch.equal(window.targets.mask[others], objective._window.targets.mask[others])


@pytest.mark.slow
def test_warm_minima_of_a_jump_ode_are_those_of_a_search_that_knows_no_curvature(jump):
    objective = held_objective(jump)
    parts = each_observation(jump._panel, ["s01"])
    objective.start(parts)
    base, truth = jump.predict(horizon=2.0)["y"].to_numpy(), []
    for out in parts:
        point, is_reached = objective.least(out)
        assert is_reached
        left = moved_to(jump, objective, point).predict(horizon=2.0)["y"].to_numpy()
        truth.append(np.sqrt(np.mean((left - base) ** 2)))
    for method, least in (("warm", 0.95), ("implicit", 0.7)):
        found = influence(jump, horizon=2.0, of="observations", series="s01", method=method).sort_values("time")
        assert (found["status"] == "ok").all()
        assert spearmanr(found["rms"], truth).statistic > least


@pytest.mark.slow
def test_reweighted_draws_rank_observations_as_fits_without_them_do():
    rng = np.random.default_rng(0)
    parts = []
    for k in range(3):
        times = np.sort(rng.uniform(0.2, 4.0, 5))
        y = 2.0 * np.exp(-0.5 * times) + 0.1 * rng.normal(size=len(times))
        parts.append(pd.DataFrame({"unique_id": f"s{k}", "ds": times, "y": y}))
    data = pd.concat(parts, ignore_index=True)
    data.loc[7, "y"] += 0.4  # an outlier
    forecaster = KnownODEForecaster(
        lambda t, z, p: (-p.k * z[:, 0],), states=["x"], parameters={"k": LogNormal(-0.7, 0.7)},
        initial={"x": 2.0}, observed={"y": AdditiveNoise("x", sd=0.15)}, initial_time=0.0, random_state=0,
        n_draws=4000,
    ).fit(data)  # fmt: skip
    new = pd.DataFrame({"unique_id": ["new"], "ds": [0.0], "y": [2.0]})
    asked = {"context": new, "times": {"new": np.array([1.0, 2.0])}}
    found = influence(forecaster, of="observations", **asked).set_index("time")
    assert found.attrs["method"] == "importance"
    assert len(found) == 15
    assert found.index[0] == data["ds"][7]
    base = exact(data, new, [1.0, 2.0])
    truth = [np.sqrt(np.mean((exact(data.drop(index=row), new, [1.0, 2.0]) - base) ** 2)) for row in data.index]
    ours = found.loc[data["ds"], "rms"].to_numpy()
    assert (found["status"] == "ok").all()
    np.testing.assert_allclose(ours, truth, rtol=0.1, atol=2e-4)


def exact(data, new, times):
    """Posterior means of ``2 exp(-k t)`` by quadrature, given the rows of training and of the new series."""
    k = np.exp(np.linspace(-4.0, 2.0, 20001))
    rows = pd.concat([data, new])
    away = rows["y"].to_numpy() - 2.0 * np.exp(-k[:, None] * rows["ds"].to_numpy())
    log_density = -0.5 * ((away / 0.15) ** 2).sum(axis=1) - 0.5 * ((np.log(k) + 0.7) / 0.7) ** 2
    weight = np.exp(log_density - log_density.max())
    return (weight / weight.sum()) @ (2.0 * np.exp(-k[:, None] * np.array(times)))


def test_refits_leave_a_cell_empty():
    panel = ou_panel(3, 6)
    base = LastValueForecaster().fit(panel)
    found = influence(base, horizon=1.0, train=panel, of="observations", series=["s01", "s02"])
    assert list(found.columns[:3]) == LABELS
    assert sorted(set(found["series"])) == ["s01", "s02"]
    assert len(found) == 12
    first = found.iloc[0]
    emptied = panel.copy()
    emptied.loc[(panel["unique_id"] == first["series"]) & (panel["ds"] == first["time"]), "y"] = np.nan
    change = (
        LastValueForecaster().fit(emptied).predict(horizon=1.0, context=panel)["y"] - base.predict(horizon=1.0)["y"]
    )
    assert first["rms"] == pytest.approx(np.sqrt(np.mean(change**2)), abs=1e-12)


def test_errors_say_what_is_wrong(linear):
    with pytest.raises(ParameterError, match="of='values' is not known: choose from 'series', 'observations'"):
        influence(linear, of="values")
    with pytest.raises(DataError, match=r"series= names \['s77'\], which is not among"):
        influence(linear, of="observations", series=["s01", "s77"])

"""Plans by sampled paths: stochastic equations, linear models, learned effects, and populations."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from tests.estimators.known_ode.small_population import bolus, simulated_bolus
from tsode import JumpODEForecaster, KnownODEForecaster, KnownSDEForecaster, LinearSDEForecaster
from tsode.control import ChanceLimit, Doses, ExpectedCost, Input, TargetRange, Tracking, plan
from tsode.errors import ParameterError, UnreadActionError
from tsode.inference import AdditiveNoise, LogNormal, Normal

SEEN = pd.DataFrame({"ds": [0.0, 1.0, 2.0, 3.0, 4.0], "y": [3.1, 2.4, 1.9, 1.5, 1.3]})
FIRST = pd.DataFrame({"ds": [0.0], "target": ["x"], "amount": [1.0]})


def diffusing() -> KnownSDEForecaster:
    return KnownSDEForecaster(
        lambda t, z, p: (-p.k * z[:, 0],), states=["x"], parameters={"k": 0.3}, initial={"x": Normal(2.0, 1.0)},
        observed={"y": AdditiveNoise("x", sd=0.1)}, process_noise={"x": 0.2}, random_state=0,
    ).fit(SEEN, events=FIRST)  # fmt: skip


@pytest.mark.slow
def test_doses_into_a_linear_sde_are_found_by_superposition():
    doses = Doses([5.0, 7.0], "x", high=10.0)
    found = plan(diffusing(), Tracking({"y": 4.0}), actions=doses, events=FIRST, times=9.0, n_draws=64, random_state=0)
    clock = found._problem.response.clock
    t, weights = clock.times.numpy(), np.sqrt(clock.weights.numpy())
    off = 4.0 - found.without["y"].to_numpy()
    units = np.stack([np.where(t > at, np.exp(-0.3 * (t - at)), 0.0) for at in (5.0, 7.0)], axis=1)
    best = np.linalg.lstsq(units * weights[:, None], off * weights, rcond=None)[0]
    np.testing.assert_allclose(found.doses["amount"], best, rtol=1e-5)
    assert found.residual < 1e-6


@pytest.mark.slow
def test_a_limit_holds_for_paths_that_move_at_random():
    limit = ChanceLimit("y", above=4.5, probability=0.1)
    asked = {"actions": Doses([5.0, 7.0], "x", high=10.0), "events": FIRST, "times": 9.0, "n_draws": 64}
    found = plan(diffusing(), Tracking({"y": 4.0}), random_state=0, **asked)
    careful = plan(diffusing(), Tracking({"y": 4.0}), constraints=limit, random_state=0, **asked)
    amounts = torch.from_numpy(found._candidate.amounts)[None]
    assert limit.kept(found._problem.response.scene(amounts)).planned > 0.1
    assert careful.probabilities["planned"].item() <= 0.1
    assert careful.doses["amount"].sum() < found.doses["amount"].sum()


def test_times_that_move_need_gradients():
    with pytest.raises(ParameterError, match="name the times that are allowed"):
        plan(diffusing(), Tracking({"y": 4.0}), actions=Doses([5.0], high=9.0, shift=1.0), events=FIRST, times=9.0)


def panel(n):
    """Series that jump by what they are given, and fall back by half in a unit of time."""
    rng = np.random.default_rng(0)
    rows, doses = [], []
    for key in range(n):
        at, amount = rng.uniform(2.0, 6.0), rng.uniform(0.5, 3.0)
        t = np.sort(rng.uniform(0.0, 10.0, 15))
        y = np.where(t > at, amount * 0.5 ** (t - at), 0.0) + 0.05 * rng.normal(size=15)
        rows.append(pd.DataFrame({"unique_id": key, "ds": t, "y": y}))
        doses.append({"unique_id": key, "ds": at, "amount": amount})
    return pd.concat(rows, ignore_index=True), pd.DataFrame(doses)


def dosed():
    """Series about 10 that rise by twice the amount of a dose, and come back in five units of time."""
    rng = np.random.default_rng(0)
    rows, doses = [], []
    for key in range(4):
        t = np.sort(rng.uniform(0.0, 60.0, 80))
        at, amounts = np.array([12.0, 30.0 + key, 45.0]), rng.uniform(1.0, 4.0, 3)
        since = t[:, None] - at
        y = 10.0 + (2.0 * amounts * np.where(since > 0.0, np.exp(-since / 5.0), 0.0)).sum(axis=1)
        rows.append(pd.DataFrame({"unique_id": key, "ds": t, "y": y + 0.2 * rng.normal(size=80)}))
        doses.append(pd.DataFrame({"unique_id": key, "ds": at, "amount": amounts}))
    return pd.concat(rows, ignore_index=True), pd.concat(doses, ignore_index=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [{"components": ["level", "ou"]}, {"n_state": 2, "max_epochs": 20}])
def test_linear_models_are_planned_with_by_the_effects_that_they_found(kind):
    data, doses = dosed()
    model = LinearSDEForecaster(**kind, horizon=10.0, random_state=0).fit(data, events=doses)
    asked = {"events": doses, "series": 0, "horizon": 10.0, "n_draws": 40, "random_state": 0}
    found = plan(model, Tracking({"y": 14.0}), actions=Doses([61.0, 65.0], high=10.0), **asked)
    clock = found._problem.response.clock
    t, weights = found.forecast["ds"].to_numpy(), np.sqrt(clock.weights.numpy())
    units = np.stack([np.where(t > at, 2.0 * np.exp(-(t - at) / 5.0), 0.0) for at in (61.0, 65.0)], axis=1)
    best = np.linalg.lstsq(units * weights[:, None], (14.0 - found.without["y"].to_numpy()) * weights, rcond=None)[0]
    np.testing.assert_allclose(found.doses["amount"], best, atol=0.3)  # the effects are found from noisy series
    mean = model.predict(times={0: list(t)}, events=found.events)["y"].to_numpy()
    np.testing.assert_allclose(mean, found.forecast["y"], atol=0.4)  # of 40 draws of a series that moves by itself
    assert found.residual < 1e-6
    with pytest.raises(UnreadActionError, match="does not read doses to 'gut'"):
        plan(model, Tracking({"y": 14.0}), actions=Doses([61.0], "gut", high=10.0), **asked)


def test_a_linear_model_that_was_fitted_without_events_cannot_be_planned_with():
    data, _ = dosed()
    model = LinearSDEForecaster(components=["level"], random_state=0, horizon=10.0).fit(data)
    with pytest.raises(UnreadActionError, match="does not read doses"):
        plan(model, Tracking({"y": 14.0}), actions=Doses([61.0], high=10.0), series=0, horizon=10.0, n_draws=4)


@pytest.mark.slow
def test_learned_effects_are_planned_with_only_where_that_is_acknowledged():
    data, doses = panel(8)
    model = JumpODEForecaster(max_epochs=5, n_modes=8, horizon=4.0, random_state=0).fit(data, events=doses)
    asked = {
        "actions": Doses([10.5], high=4.0), "events": doses, "series": 0, "horizon": 4.0, "n_draws": 20,
        "random_state": 0,
    }  # fmt: skip
    with pytest.raises(ParameterError, match=r"learned from observed treatment.*acknowledge_observational=True"):
        plan(model, Tracking({"y": 1.0}), **asked)
    found = plan(model, Tracking({"y": 1.0}), **asked, acknowledge_observational=True)
    assert any("not the effect of causing them" in note for note in found.notes)
    assert found.score <= found.score_without
    assert len(model.predict(times={0: [12.0]}, events=found.events)) == 1


@pytest.mark.slow
def test_a_patient_of_a_population_who_is_new_is_planned_by_own_effects():
    data, doses, weights = simulated_bolus()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = bolus().fit(data, events=doses, static=weights)
    found = {}
    for name, seen in {"fast": [2.9, 1.0], "slow": [3.7, 2.1]}.items():
        context = pd.DataFrame({"unique_id": name, "ds": [3.0, 9.0], "level": seen})
        given = pd.DataFrame({"unique_id": [name], "ds": [0.0], "target": ["drug"], "amount": [100.0]})
        static = pd.DataFrame({"unique_id": [name], "weight": [70.0]})
        found[name] = plan(
            model, Tracking({"level": 4.0}), actions=Doses([12.0, 18.0], high=200.0), context=context, events=given,
            static=static, horizon=15.0, n_draws=50, random_state=0,
        )  # fmt: skip
    assert found["fast"].doses["amount"].sum() > found["slow"].doses["amount"].sum() + 10.0
    row = pd.DataFrame({"unique_id": ["fast"], "ds": [17.0], "level": [3.0]})
    again = found["fast"].replan(row, random_state=0)
    assert again.doses["ds"].tolist() in ([18.0], [])
    assert again.events["ds"].tolist()[:2] == [0.0, 12.0]


def test_values_of_an_input_are_planned_and_are_read_by_predict():
    rows = pd.DataFrame({"ds": [0.0, 1.0, 2.0], "y": [1.0, 0.8, 0.6]})
    known = pd.DataFrame({"ds": [0.0], "inflow": [0.0]})
    model = KnownODEForecaster(
        lambda t, z, p: (p.inflow - p.k * z[:, 0],), states=["x"], parameters={"k": LogNormal(-1.3, 0.3)},
        initial={"x": 1.0}, observed={"y": AdditiveNoise("x", sd=0.05)}, known_path="last", random_state=0,
    ).fit(rows, known=known)  # fmt: skip
    flow = Input("inflow", [2.0, 6.0], low=0.0, high=3.0)
    found = plan(model, Tracking({"y": 2.0}), actions=flow, known=known, times=12.0, n_draws=100, random_state=0)
    assert found.events is None
    mean = model.predict(times=list(found.forecast["ds"]), known=found.known)["y"].to_numpy()
    np.testing.assert_allclose(mean, found.forecast["y"], rtol=0.02)
    best = found._candidate.amounts
    near = best + 0.02 * np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    scores = [worth.score for worth in found._problem.worths(near)]
    assert scores[0] < min(scores[1:])
    assert found.inputs["inflow"].tolist() == pytest.approx(best.tolist())
    with pytest.raises(UnreadActionError, match="no input of the model"):
        plan(model, Tracking({"y": 2.0}), actions=Input("rain", [3.0]), known=known, times=12.0)
    with pytest.raises(ParameterError, match="neither cost= nor effort="):
        ExpectedCost()
    assert TargetRange("y", 1.0).high == np.inf

"""Ensembles beside their members one by one, and the two parts of their variance."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tests.registries import small_filter
from tests.training.test_objective import window
from tsode import JumpODEForecaster
from tsode.evolutions.diagonal import DiagonalFlow
from tsode.jumps import InnovationGRU
from tsode.kernels.innovation import InnovationFilter
from tsode.likelihoods import Normal
from tsode.models.filters.build import FILTERS, build_filter
from tsode.models.filters.ensemble import Ensemble
from tsode.models.filters.jump_filter import JumpFilter, run_filters
from tsode.models.filters.kernels import share_one_pass
from tsode.testing import check_model, example_batch
from tsode.training.loop import TrainingPlan, train
from tsode.training.objective import FilterObjective


def members(n_members: int = 3, **settings) -> list[JumpFilter]:
    torch.manual_seed(0)
    made = []
    for _ in range(n_members):
        model = build_filter(2, **{"n_modes": 4, "n_static": 3, "n_hidden": 6} | settings).double()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.5)
        made.append(model)
    return made


def gradients(model: nn.Module) -> list[torch.Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("settings", [{}, {"n_static": 0}, {"gate": False}, {"likelihood": "normal_mixture"}])
def test_one_pass_gives_the_states_losses_and_gradients_of_the_members_one_by_one(settings):
    alone, objective = members(**settings), FilterObjective()
    together = Ensemble(copy.deepcopy(alone))
    data = window()
    for model, filtered in zip(alone, run_filters(together.members, data.context)):
        path = model.filter(data.context).path
        for name in ("z_minus", "z_plus", "z_end", "predicted"):
            torch.testing.assert_close(getattr(filtered.path, name), getattr(path, name), rtol=1e-10, atol=1e-10)
    losses = [objective(model, data)[0] for model in alone]
    for loss in losses:
        loss.backward()
    loss, parts, _ = objective(together, data)
    (len(alone) * loss).backward()
    torch.testing.assert_close(loss, torch.stack(losses).mean(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(loss, parts["forecast"] + 0.5 * parts["one_step"] + 0.5 * parts["backcast"])
    truth = [g for model in alone for g in gradients(model)]
    torch.testing.assert_close(gradients(together), truth, rtol=1e-10, atol=1e-10)


def test_the_pass_over_the_events_is_one_for_all_members(monkeypatch):
    calls, apply = [], InnovationFilter.apply
    monkeypatch.setattr(InnovationFilter, "apply", lambda *args: calls.append(1) or apply(*args))
    run_filters(members(4), window().context)
    assert len(calls) == 1


@pytest.mark.parametrize("name", FILTERS)
def test_the_plain_loop_and_the_kernels_agree(name):
    torch.manual_seed(0)
    fused = Ensemble([small_filter(name).double() for _ in range(2)])
    plain = copy.deepcopy(fused)
    for member in plain.members:
        member.use_fused = False
    (a, _, _), (b, _, _) = (FilterObjective()(model, window()) for model in (fused, plain))
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    a.backward()
    b.backward()
    torch.testing.assert_close(gradients(fused), gradients(plain), rtol=1e-8, atol=1e-9)


def test_members_of_different_sizes_or_parts_run_one_after_the_other():
    small, large = members(1)[0], members(1, n_modes=6)[0]
    assert share_one_pass([small, copy.deepcopy(small)])
    assert not share_one_pass([small, large])
    assert not share_one_pass([small_filter("ode_rnn"), small_filter("ode_rnn")])
    for model, filtered in zip((small, large), run_filters([small, large], window().context)):
        torch.testing.assert_close(filtered.path.z_end, model.filter(window().context).path.z_end)


def test_dropout_draws_for_every_member_by_itself():
    one = members(1, dropout=0.5)[0].train()
    filtered = run_filters([one, copy.deepcopy(one)], window().context)
    assert not torch.equal(filtered[0].path.z_end, filtered[1].path.z_end)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "likelihood"), [("innovation", "normal"), ("ode_rnn", "normal"), ("innovation", "laplace")]
)
def test_an_ensemble_keeps_the_contract_of_models(name, likelihood):
    torch.manual_seed(0)
    check_model(Ensemble([small_filter(name, likelihood=likelihood) for _ in range(3)]))


@pytest.mark.parametrize("likelihood", ["normal", "student_t"])
def test_the_forecast_is_the_equal_weight_mixture_of_the_members(likelihood):
    model = Ensemble(members(likelihood=likelihood)).eval()
    batch, queries = example_batch(2)
    x = torch.linspace(-2.0, 2.0, 2, dtype=torch.float64)
    forecast = model.forecast(batch, queries)
    each = [member.forecast(batch, queries) for member in model.members]
    cdf = torch.stack([own.family.cdf(own.params, x) for own in each]).mean(dim=0)
    torch.testing.assert_close(forecast.family.cdf(forecast.params, x), cdf, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(forecast.mean, torch.stack([own.mean for own in each]).mean(dim=0))


def test_members_learn_as_they_would_alone():
    alone, data = members(2), [window()] * 3
    together = Ensemble(copy.deepcopy(alone))

    def learn(model: nn.Module) -> None:
        scores = iter(range(100, 0, -1))  # every epoch is the best so far
        plan = TrainingPlan(max_epochs=3, clip=0.05)
        train(model, lambda: data, 3, FilterObjective(), lambda _: {"loss": float(next(scores))}, plan)

    for model in (*alone, together):
        learn(model)
    for member, model in zip(together.members, alone):
        for a, b in zip(member.parameters(), model.parameters()):
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def waves() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for key in range(20):
        t = np.sort(rng.uniform(0.0, 10.0, 30))
        rows.append(pd.DataFrame({"unique_id": key, "ds": t, "x": np.sin(t + rng.uniform(0, 6.0))}))
    return pd.concat(rows)


@pytest.mark.slow
def test_spread_parts_add_up_and_disagreement_grows_off_the_data(tmp_path):
    frame = waves()
    model = JumpODEForecaster(
        n_members=3,
        expert=None,
        n_modes=4,
        n_static=2,
        n_hidden=8,
        max_epochs=4,
        batch_size=8,
        horizon=2.0,
        random_state=0,
    ).fit(frame)
    spread = model.predict_spread(horizon=2.0)
    assert spread.columns.tolist() == ["unique_id", "ds", "x-sd", "x-sd-aleatoric", "x-sd-epistemic"]
    total, aleatoric, epistemic = (spread[f"x-sd{part}"] for part in ("", "-aleatoric", "-epistemic"))
    np.testing.assert_allclose(total**2, aleatoric**2 + epistemic**2, rtol=1e-9)
    assert (epistemic > 0).all()
    strange = frame.assign(x=np.where(np.arange(len(frame)) % 2 == 0, 1.0, -1.0))  # no wave of training is like it
    away = model.predict_spread(horizon=2.0, context=strange)["x-sd-epistemic"]
    assert away.median() > 3.0 * epistemic.median()
    model.save(tmp_path / "model.safetensors")
    again = JumpODEForecaster.load(tmp_path / "model.safetensors")
    pd.testing.assert_frame_equal(again.predict_spread(horizon=2.0), spread)


@pytest.mark.slow
def test_an_ensemble_of_heavy_tails_answers_every_question(tmp_path):
    frame = waves()
    model = JumpODEForecaster(
        n_members=2, likelihood="student_t", n_modes=4, n_static=2, n_hidden=8, max_epochs=2, batch_size=8, horizon=2.0,
        random_state=0,
    ).fit(frame)  # fmt: skip
    mean = model.predict(horizon=2.0)["x"]
    quantiles = model.predict_quantiles(horizon=2.0)
    bands = model.predict_interval(horizon=2.0, level=80)
    assert (quantiles["x-q-0.1"] < quantiles["x-q-0.5"]).all()
    np.testing.assert_allclose(bands["x-lo-80"], quantiles["x-q-0.1"], rtol=1e-9)
    np.testing.assert_allclose(bands["x"], mean, rtol=1e-9)
    spread = model.predict_spread(horizon=2.0)
    np.testing.assert_allclose(
        spread["x-sd"] ** 2, spread["x-sd-aleatoric"] ** 2 + spread["x-sd-epistemic"] ** 2, rtol=1e-9
    )
    assert (spread["x-sd-epistemic"] > 0).all()
    paths = model.sample(horizon=2.0, n_samples=400, random_state=0)
    median = paths.groupby(["unique_id", "ds"])["x"].median().to_numpy()
    # six standard errors of a median of 400: 6 * .5 / sqrt(400) / density, with a density of at least .25 / sd
    assert (np.abs(median - quantiles["x-q-0.5"]) < 0.6 * spread["x-sd"]).all()
    later = frame.assign(unique_id=frame["unique_id"] + 100)
    assert np.isfinite([model.score(later, metric=metric) for metric in ("nll", "crps", "mse", "mae")]).all()
    filled = model.impute(later.assign(x=later["x"].where(later.index % 3 != 0)))
    assert filled["x"].notna().all()
    model.save(tmp_path / "model.safetensors")
    again = JumpODEForecaster.load(tmp_path / "model.safetensors")
    pd.testing.assert_frame_equal(again.predict_quantiles(horizon=2.0), quantiles)


@pytest.mark.parametrize(
    ("settings", "n_members"),
    [
        ({}, 2),
        ({"likelihood": "normal", "n_passes": 2}, 2),
        ({"likelihood": "student_t"}, 1),
        ({"likelihood": Normal()}, 1),
        ({"model": "innovation"}, 2),
        ({"model": "ode_rnn"}, 1),
        ({"evolution": "semilinear"}, 1),
        ({"jump": "gru"}, 1),
        ({"jump": InnovationGRU}, 1),
        ({"evolution": DiagonalFlow(4)}, 1),
    ],
)
def test_members_are_two_of_named_parts_that_share_a_pass(settings, n_members):
    torch.manual_seed(0)
    forecaster = JumpODEForecaster(n_modes=4, n_static=2, n_hidden=8, **settings)
    assert len(forecaster._build(2, 1, 1).members) == n_members


def test_the_epistemic_part_of_a_single_model_is_that_of_its_readout():
    settings = {"n_modes": 4, "n_static": 2, "n_hidden": 8, "max_epochs": 1, "random_state": 0}
    model = JumpODEForecaster(n_members=1, expert=None, **settings).fit(waves())
    spread = model.predict_spread(horizon=1.0)
    assert (spread["x-sd-epistemic"] > 0.0).all()
    model.module_.posterior = None
    spread = model.predict_spread(horizon=1.0)
    assert (spread["x-sd-epistemic"] == 0.0).all()
    assert (spread["x-sd"] == spread["x-sd-aleatoric"]).all()

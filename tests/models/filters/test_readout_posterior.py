"""Posterior of readouts: the variance of a Bayesian linear regression, and what a fitted filter makes of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tests.registries import quick_epochs
from tsode import JumpODEForecaster
from tsode.core.series import collate
from tsode.models.filters.readout_posterior import PRECISION, ReadoutPosterior, last_read, with_one

SETTINGS = {
    "n_modes": 4,
    "n_static": 2,
    "n_hidden": 8,
    "max_epochs": 3,
    "batch_size": 8,
    "horizon": 2.0,
    "n_members": 2,
}


def _waves(n_series: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for key in range(n_series):
        t = np.sort(rng.uniform(0.0, 10.0, 30))
        x = np.sin(t + rng.uniform(0, 6.0)) + 0.3 * rng.standard_normal(30)
        rows.append(pd.DataFrame({"unique_id": key, "ds": t, "x": x}))
    return pd.concat(rows, ignore_index=True)


def test_it_is_the_posterior_variance_of_a_linear_regression() -> None:
    rng = np.random.default_rng(0)
    h, noise = torch.from_numpy(rng.standard_normal((50, 3))), torch.from_numpy(rng.uniform(0.5, 2.0, 50))
    design = with_one(h)
    information = design.mT @ (design / noise[:, None])
    posterior = ReadoutPosterior(1, 4, 2).double()
    posterior.fit(4.0 * information[None], torch.tensor([0.25, 0.75], dtype=torch.float64))
    asked = torch.from_numpy(rng.standard_normal((2, 5, 3)))
    precision = information + PRECISION * torch.eye(4, dtype=torch.float64)
    wanted = torch.einsum("bmq,qr,bmr->bm", with_one(asked), torch.linalg.inv(precision), with_one(asked))
    torch.testing.assert_close(posterior([asked])[..., 0], wanted)
    assert (posterior([asked])[..., 1] < wanted).all()  # the second channel was seen three times as often


def test_that_of_an_ensemble_is_the_mean_of_the_members() -> None:
    torch.manual_seed(0)
    h = [torch.randn(2, 3, 4, dtype=torch.float64) for _ in range(2)]
    information = torch.stack([a.T @ a for a in (with_one(x).flatten(0, 1) for x in h)])
    both, one, other = (ReadoutPosterior(k, 5, 1).double() for k in (2, 1, 1))
    share = torch.ones(1, dtype=torch.float64)
    for posterior, part in ((both, information), (one, information[:1]), (other, information[1:])):
        posterior.fit(part, share)
    torch.testing.assert_close(both(h), 0.5 * (one(h[:1]) + other(h[1:])))


def test_what_the_last_layer_reads_gives_its_locations() -> None:
    frame = _waves(20)
    with quick_epochs():
        model = JumpODEForecaster(expert=None, random_state=0, **SETTINGS).fit(frame)
    member = model.module_.members[0]
    rows = collate(model.reader_.series(model._panel)[:1], torch.float32)
    times = rows.times[:, -1:] + torch.tensor([[0.1, 0.2]], dtype=torch.float64)
    with torch.no_grad(), last_read([member]) as read:
        params, _ = member.predict_params(rows, times, "left")
        correction, gate = member.readout.location_out(read[0]).chunk(2, dim=-1)
    last = rows.last_seen()[0][:, -1:]
    torch.testing.assert_close(member.likelihood.mean(params), correction + last * torch.sigmoid(2.0 + gate))
    assert not member.readout.location_out._forward_pre_hooks


@pytest.mark.slow
def test_more_series_leave_less_unknown_and_a_file_keeps_it(tmp_path) -> None:
    frame = _waves(60)
    few, many = (
        JumpODEForecaster(expert=None, random_state=0, **SETTINGS).fit(frame[frame["unique_id"] < n]) for n in (12, 60)
    )
    asked = {"context": frame[frame["unique_id"] < 5].assign(x=lambda rows: -rows["x"]), "horizon": 2.0}
    shares = []
    for model in (few, many):
        spread = model.predict_spread(**asked)
        parts = spread["x-sd-aleatoric"] ** 2 + spread["x-sd-epistemic"] ** 2
        np.testing.assert_allclose(spread["x-sd"] ** 2, parts, rtol=1e-12)
        model.module_.posterior, kept = None, model.module_.posterior
        alone = model.predict_spread(**asked)
        model.module_.posterior = kept
        np.testing.assert_array_equal(alone["x-sd"], spread["x-sd"])  # what is unknown moves no other answer
        assert (spread["x-sd-epistemic"] > alone["x-sd-epistemic"]).all()
        shares.append((spread["x-sd-epistemic"] ** 2 - alone["x-sd-epistemic"] ** 2).mean())
    assert shares[0] > 1.5 * shares[1]
    few.save(tmp_path / "model.safetensors")
    again = JumpODEForecaster.load(tmp_path / "model.safetensors")
    pd.testing.assert_frame_equal(again.predict_spread(**asked), few.predict_spread(**asked))


@pytest.mark.slow
def test_a_file_without_a_posterior_is_read_and_answers_by_its_members(tmp_path) -> None:
    with quick_epochs():
        model = JumpODEForecaster(random_state=0, **SETTINGS).fit(_waves(12))
    model.module_.posterior = None
    if model.module_.expert is not None:
        model.module_.expert.moves = None
    model.save(tmp_path / "old.safetensors")
    again = JumpODEForecaster.load(tmp_path / "old.safetensors")
    assert again.module_.posterior is None
    pd.testing.assert_frame_equal(again.predict_spread(horizon=1.0), model.predict_spread(horizon=1.0))

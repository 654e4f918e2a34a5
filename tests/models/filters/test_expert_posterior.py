"""Posterior of an expert: its moves span what draws of its parameters do to means."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tests.training.series import ou_series
from tsode import JumpODEForecaster
from tsode.core.series import collate
from tsode.models.filters.expert import Expert, linear_expert
from tsode.models.filters.expert_posterior import N_MOVES, leading_moves, moved
from tsode.models.linear.rate_classes import RateClasses
from tsode.training.posterior_mode import PosteriorMode


def _mode(n_series: int) -> tuple[Expert, PosteriorMode]:
    torch.manual_seed(0)
    expert = Expert(linear_expert(1, 0), 2)
    mode = PosteriorMode(expert.model, ou_series(n_series), 64, torch.Generator().manual_seed(0))
    list(mode.stages())
    return expert, mode


def _means_at(n_series: int):
    batch = collate(ou_series(n_series), torch.float64)
    times = batch.times[:, -1:] + torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)

    def means_of(model: RateClasses) -> torch.Tensor:
        with torch.no_grad():
            return model.forecast(batch, times).mean.flatten()

    return batch, times, means_of


@pytest.mark.slow
def test_squares_of_the_moves_sum_to_the_mean_square_of_the_draws() -> None:
    expert, mode = _mode(8)
    _, _, means_of = _means_at(4)
    draws = 0.01 * mode.draws(16, torch.Generator().manual_seed(1))  # so near that means are linear in them
    moves = leading_moves(expert.model, draws, means_of)
    assert len(moves) == N_MOVES
    middle = means_of(expert.model)
    of_moves, of_draws = (
        torch.stack([means_of(model) - middle for model in moved(expert.model, part)]) for part in (moves, draws)
    )
    wanted = of_draws.square().mean(dim=0).sum()
    torch.testing.assert_close(of_moves.square().sum(), wanted, rtol=0.02, atol=0.0)
    cosine = torch.corrcoef(torch.stack([of_moves.square().sum(dim=0), of_draws.square().mean(dim=0)]))[0, 1]
    assert cosine > 0.95


@pytest.mark.slow
def test_fewer_series_leave_more_unknown_of_the_expert() -> None:
    unknown = []
    for n in (4, 32):
        expert, mode = _mode(n)
        batch, times, means_of = _means_at(6)
        with torch.no_grad():
            assert not expert.unknown(batch, times, "left").any()  # of no moves
            expert.moves = leading_moves(expert.model, mode.draws(16, torch.Generator().manual_seed(1)), means_of)
            unknown.append(float(expert.unknown(batch, times, "left").mean()))
    assert unknown[0] > 2.0 * unknown[1] > 0.0


def test_draws_have_the_curvature_of_the_search() -> None:
    _, mode = _mode(8)
    inverse = 0.5 * (mode._search.inverse + mode._search.inverse.T)
    spread = mode._spread.numpy()
    draws = mode.draws(4000, torch.Generator().manual_seed(0)).numpy() / spread
    # six standard errors of a variance of normal draws: 6 sqrt(2 / 4000) = 0.13
    np.testing.assert_allclose(draws.var(axis=0), np.diag(inverse), rtol=0.14)


@pytest.mark.slow
def test_a_forecast_by_the_expert_alone_has_an_epistemic_part_that_updates_keep() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for key in range(12):
        t = np.sort(rng.uniform(0.0, 6.0, 25))
        x, out = rng.standard_normal(), []
        for gap in np.diff(t, prepend=t[0]):
            x = np.exp(-gap) * x + np.sqrt(1.0 - np.exp(-2.0 * gap)) * rng.standard_normal()
            out.append(x + 0.2 * rng.standard_normal())
        rows.append(pd.DataFrame({"unique_id": key, "ds": t, "x": out}))
    frame = pd.concat(rows, ignore_index=True)
    settings = {"n_modes": 4, "n_static": 2, "n_hidden": 8, "max_epochs": 1, "horizon": 1.5}
    model = JumpODEForecaster(random_state=0, dtype="float64", **settings).fit(frame)
    assert model.module_.expert is not None  # after one epoch it is the better one
    model.module_.expert.share.zero_()
    asked = {"times": {0: [6.5, 7.0]}}
    begun = model.with_history(frame[frame["ds"] < 4.0])
    begun.update(frame[frame["ds"] >= 4.0])
    spread, updated = (one.predict_spread(**asked) for one in (model, begun))
    assert (spread["x-sd-epistemic"] > 0.01 * spread["x-sd"]).all()
    assert (spread["x-sd-epistemic"] < spread["x-sd"]).all()
    for name in ("x-sd", "x-sd-epistemic"):
        np.testing.assert_allclose(updated[name], spread[name], rtol=1e-9)

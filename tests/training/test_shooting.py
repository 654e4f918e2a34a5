"""Multiple shooting of latent paths: how windows are cut, and what it finds that one long path does not."""

from __future__ import annotations

import math

import pytest
import torch

from tests.registries import small
from tsode.core.batch import IrregularBatch
from tsode.datasets import load_theophylline
from tsode.errors import ParameterError
from tsode.estimators import FORECASTERS
from tsode.models.latent.base import Draws
from tsode.models.latent.ode import build_latent_ode
from tsode.numerics import RK4
from tsode.testing import example_panel
from tsode.training.latent_objective import LatentObjective
from tsode.training.shooting import in_segments, with_end
from tsode.training.windows import Window


def batch_of(times: list[list[float]], seen: list[list[bool]]) -> IrregularBatch:
    t, mask = torch.tensor(times, dtype=torch.float64), torch.tensor(seen)[..., None]
    return IrregularBatch(t, torch.where(mask, t[..., None], 0.0), mask, torch.full((len(t),), t.shape[1]))


def test_segments_have_alike_numbers_of_observations_and_the_last_has_the_targets():
    context = batch_of([[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 3, 3]], [[True] * 6, [True, False, True, False, False, False]])
    targets = batch_of([[6, 7], [8, 9]], [[True, True], [True, False]])
    window, until, is_joined = in_segments(Window(context, targets, context), 3)
    scored = [t[m].tolist() for t, m in zip(window.hidden.times, window.hidden.mask[..., 0])]
    assert scored == [[0, 1], [2, 3], [4, 5], [], [0], [2]]
    shown = [t[m].tolist() for t, m in zip(window.context.times, window.context.mask[..., 0])]
    assert shown == [[0, 1, 2, 3, 4, 5], [2, 3, 4, 5], [4, 5], [0, 2], [0, 2], [2]]
    ahead = [t[m].tolist() for t, m in zip(window.targets.times, window.targets.mask[..., 0])]
    assert ahead == [[], [], [6, 7], [], [], [8]]
    assert is_joined.tolist() == [[True, True, False], [False, True, False]]
    assert until[is_joined].tolist() == [2, 4, 2]


def test_one_more_event_at_the_end_shows_nothing():
    batch = batch_of([[0, 1]], [[True, True]])
    longer = with_end(batch, torch.tensor([5.0], dtype=torch.float64))
    assert longer.times.tolist() == [[0, 1, 5]]
    assert longer.mask[..., 0].tolist() == [[True, True, False]]


# -- what it finds -----------------------------------------------------------------------------------------------------


def sines(n_rows: int, n_events: int, n_turns: int) -> Window:
    generator = torch.Generator().manual_seed(0)
    times = math.pi * n_turns * torch.rand(n_rows, n_events, dtype=torch.float64, generator=generator)
    times = times.sort(dim=1).values
    phase = 2.0 * math.pi * torch.rand(n_rows, 1, dtype=torch.float64, generator=generator)
    values = torch.sin(2.0 * times + phase).float()[..., None]
    values = values + 0.05 * torch.randn(values.shape, generator=generator)
    batch = IrregularBatch(times, values, torch.ones_like(values).bool(), torch.full((n_rows,), n_events))
    return Window(batch, batch.replace(mask=torch.zeros_like(batch.mask)), batch)


def error_of_whole_path(n_segments: int, window: Window, n_steps: int) -> float:
    """Share of the variance that one path from the first observation misses, after training in segments."""
    torch.manual_seed(0)
    model = build_latent_ode(
        1, evolution="mlp", solver=RK4(max_step=0.25), n_state=4, n_static=0, n_encoder=16, n_hidden=16
    )
    generator = torch.Generator().manual_seed(0)
    objective = LatentObjective(
        "mse", n_steps, generator, kl_weight=0.001, reconstruction=1.0, n_segments=n_segments
    )  # fmt: skip
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
    for _ in range(n_steps):
        optimiser.zero_grad()
        objective(model, window)[0].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        middle = Draws(torch.zeros(1, 1, model.n_latent), generator)
        path = model.emit(model.paths(model.infer(window.context), window.context.times, middle))[0, ..., 0]
    values = window.context.values
    return float((path - values).square().mean() / values.var())


@pytest.mark.slow
def test_segments_find_an_oscillation_that_one_path_over_all_its_turns_takes_for_its_mean():
    # as many steps of training, and as much time solved in each
    window = sines(n_rows=4, n_events=48, n_turns=6)
    assert error_of_whole_path(1, window, 150) > 0.7
    assert error_of_whole_path(6, window, 150) < 0.35


# -- in forecasters ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("name", "loss"), [("LatentODEForecaster", "elbo"), ("LatentSDEForecaster", "crps")])
def test_latent_forecasters_train_in_segments_and_tell_of_the_gaps(name, loss):
    forecaster = small(FORECASTERS[name], n_segments=3, loss=loss).fit(example_panel())
    assert (forecaster.history_["train_continuity"] > 0.0).all()
    assert forecaster.history_["valid_loss"].notna().all()


def test_segments_are_refused_where_they_have_no_meaning():
    frame = load_theophylline()
    doses = frame.groupby("unique_id", as_index=False)["ds"].min().assign(amount=1.0)
    with pytest.raises(ParameterError, match="n_segments=2 is of series without events"):
        small(FORECASTERS["LatentODEForecaster"], n_segments=2, loss="iwae").fit(example_panel())
    with pytest.raises(ParameterError, match="n_segments=2 is of series without events"):
        small(FORECASTERS["LatentODEForecaster"], n_segments=2).fit(frame, events=doses)

"""The objective term by term, calibration against known spreads, and one thread."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.registries import small_filter
from tsode.core.batch import IrregularBatch
from tsode.core.series import Series
from tsode.likelihoods import Normal
from tsode.models.filters.build import FILTERS
from tsode.testing import example_batch
from tsode.training.calibration import calibrate
from tsode.training.objective import SCORES, FilterObjective, find_queries, is_ok, masked_mean
from tsode.training.windows import Window, make_window


def window(dtype=torch.float64) -> Window:
    rng = np.random.default_rng(0)
    series = []
    for n in (12, 7, 20):
        values = np.where(rng.random((n, 2)) < 0.6, rng.normal(size=(n, 2)), np.nan)
        values[0] = 1.0
        series.append(Series(np.sort(rng.choice(np.arange(64), n, replace=False)) / 16.0, values))
    return make_window(series, [2.0, 2.0, 2.5], 1.0, 100, dtype=dtype)


def model_of(name="innovation"):
    torch.manual_seed(0)
    return small_filter(name).double()


def test_the_loss_is_forecast_and_half_of_backcast_and_one_step():
    model, data = model_of(), window()
    loss, parts, status = FilterObjective(horizon=1.0)(model, data)
    assert set(parts) == {"forecast", "backcast", "one_step"}
    torch.testing.assert_close(loss, parts["forecast"] + 0.5 * parts["backcast"] + 0.5 * parts["one_step"])
    assert bool(is_ok(status).all())
    forecast = model.forecast(data.context, data.targets.times)
    crps = model.likelihood.crps(forecast.params, data.targets.values)
    torch.testing.assert_close(parts["forecast"], crps[data.targets.mask].mean())
    steps = model.forecast(data.context, data.context.times)
    crps = model.likelihood.crps(steps.params, data.context.values)
    torch.testing.assert_close(parts["one_step"], crps[data.context.mask].mean())


def test_the_backcast_reaches_one_horizon_and_reads_no_last_value():
    model, data = model_of(), window()
    _, parts, _ = FilterObjective(horizon=0.25)(model, data)
    edge = data.context.times[:, -1:] - 0.25
    far = data.hidden.values + 9.0 * (data.hidden.times < edge)[..., None] * data.hidden.mask
    moved = Window(data.context, data.targets, data.hidden.replace(values=far))
    _, again, _ = FilterObjective(horizon=0.25)(model, moved)
    torch.testing.assert_close(again["backcast"], parts["backcast"])


def test_hidden_values_are_what_the_backcast_is_scored_on():
    model, data = model_of(), window()
    blank = data.context.replace(mask=data.context.mask & (torch.arange(data.context.n_events) % 2 == 0)[None, :, None])
    _, whole, _ = FilterObjective()(model, Window(blank, data.targets, data.context))
    _, part, _ = FilterObjective()(model, Window(blank, data.targets, blank))
    assert whole["backcast"] != part["backcast"]
    assert whole["one_step"] == part["one_step"]


def test_of_a_long_context_every_so_many_events_are_cast_back_to_counted_from_the_last():
    model = model_of()
    for n_events, scored in ((16, range(16)), (20, range(0, 20, 2)), (50, range(3, 50, 4))):
        series = Series(np.arange(n_events + 10.0), np.ones((n_events + 10, model.n_channels)))
        cut = make_window([series], [n_events - 0.5], 60.0, 128, dtype=torch.float64)
        found = find_queries(cut, model.filter(cut.context), 60.0)
        assert found.times[found.is_back].tolist() == [float(k) for k in scored]


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("score", SCORES)
def test_every_score_trains_every_filter(name, score):
    model = model_of(name)
    loss, _, _ = FilterObjective(score)(model, window())
    loss.backward()
    assert torch.isfinite(loss)
    for parameter_name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert torch.isfinite(parameter.grad).all(), parameter_name
    assert model.readout.location_out.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", FILTERS)
def test_unseen_values_filled_with_nan_change_neither_loss_nor_gradient(name):
    def run(data):
        model = model_of(name)
        loss, _, _ = FilterObjective()(model, data)
        loss.backward()
        return loss, [p.grad for p in model.parameters() if p.grad is not None]

    data = window()
    nan = {
        part: batch.replace(values=torch.where(batch.mask, batch.values, torch.nan))
        for part, batch in vars(data).items()
        if batch is not None
    }
    (loss, gradients), (same_loss, same_gradients) = run(data), run(Window(**nan))
    assert torch.equal(loss, same_loss)
    for gradient, same in zip(gradients, same_gradients):
        assert torch.equal(gradient, same)


def test_a_window_without_context_or_targets_has_a_finite_loss():
    model = model_of()
    nothing = make_window([Series(np.array([1.0]), np.array([[1.0, np.nan]]))], [0.0], 0.5, 10, dtype=torch.float64)
    loss, parts, _ = FilterObjective()(
        model, Window(nothing.context, window().targets.select(torch.tensor([0])), nothing.context)
    )
    assert torch.isfinite(loss)
    assert set(parts) == {"forecast"}


def test_a_masked_mean_of_nothing_is_zero():
    score = torch.tensor([1.0, 3.0, 100.0], requires_grad=True)
    assert masked_mean(score, torch.tensor([True, True, False])).item() == 2.0
    assert masked_mean(score, torch.zeros(3, dtype=torch.bool)).item() == 0.0


def test_the_squared_error_leaves_the_spread_to_the_crps():
    params = torch.tensor([[1.0, 0.3]], dtype=torch.float64, requires_grad=True)
    x = torch.tensor([2.5], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(SCORES["mse"](Normal(), params, x).sum(), params)
    (crps,) = torch.autograd.grad(Normal().crps(params, x).sum(), params)
    assert gradient[0, 0].item() == pytest.approx(2.0 * (1.0 - 2.5))
    assert gradient[0, 1] == crps[0, 1]


def test_calibration_brings_intervals_to_their_level():
    model = model_of().eval()
    rng = np.random.default_rng(1)
    series = [Series(np.arange(10) / 4.0, rng.normal(size=(10, 2))) for _ in range(60)]
    windows = [make_window(series, [1.0] * 60, 1.0, 10, dtype=torch.float64)]
    with torch.no_grad():
        model.readout.scale_out.bias.fill_(-1.0)
    calibrate(model, [(model, windows)])
    targets = windows[0].targets
    forecast = model.forecast(windows[0].context, targets.times)
    low, high = (forecast.quantile(torch.tensor([p], dtype=torch.float64))[..., 0] for p in (0.05, 0.95))
    inside = ((targets.values >= low) & (targets.values <= high))[targets.mask].double().mean().item()
    assert inside == pytest.approx(0.9, abs=0.01)


def test_too_few_values_leave_the_spread_as_trained():
    model = model_of().eval()
    calibrate(model, [(model, [])])
    calibrate(model, [(model, [window().select(torch.tensor([1]))])])
    assert not model.spread.log_factor.any()


def test_the_example_batch_is_what_it_says():
    batch, queries = example_batch(3)
    assert batch.lengths.tolist() == [9, 1, 5, 0, 14]
    assert queries.shape == (5, 5)
    assert isinstance(batch, IrregularBatch)

"""Folded forecasts on simulated stars: what they promise, and what pooling is worth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.models.folded.sawtooth import sawtooth, stars
from tsode.core.batch import IrregularBatch
from tsode.core.series import Series, collate
from tsode.estimators.files.checks import load_weights
from tsode.models.folded.model import FoldedModel

LATER = 0.6


@pytest.fixture(scope="module")
def learned() -> FoldedModel:
    model = FoldedModel(2)
    model.learn(stars(10, n_nights=40, seed=0)[0])
    return model


def given(star: Series) -> tuple[Series, Series]:
    n = int(LATER * len(star.times))
    return star.part(slice(n)), star.part(slice(n, None))


def batch_of(*rows: Series) -> IrregularBatch:
    return collate(rows, torch.float64)


def queries(*rows: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.stack(rows))


@pytest.mark.slow
def test_later_values_of_new_stars_are_forecast_to_little_more_than_the_noise(learned):
    series, periods = stars(4, n_nights=40, seed=7)
    held, errors = [], []
    for star, period in zip(series, periods, strict=True):
        past, later = given(star)
        batch = batch_of(past)
        assert learned.periods(batch)[0] == pytest.approx(period, rel=1e-3)
        forecast = learned.forecast(batch, queries(later.times))
        low, median, high = forecast.quantile(torch.tensor([0.05, 0.5, 0.95]))[0].numpy().transpose(2, 0, 1)
        seen = np.isfinite(later.values)
        held.append(((later.values > low) & (later.values < high))[seen])
        errors.append(np.abs(later.values - median)[seen])
    assert np.median(np.concatenate(errors)) < 0.07  # noise alone makes it 0.034
    assert 0.8 < np.concatenate(held).mean() < 0.98


@pytest.mark.slow
def test_a_pooled_shape_forecasts_a_star_of_few_nights_better_than_one_of_its_own(learned):
    series, _ = stars(4, n_nights=32, seed=3)
    alone = FoldedModel(2, pooled=False)
    scores = {}
    for name, model in (("pooled", learned), ("alone", alone)):
        errors = []
        for star in series:
            past, later = given(star)
            mean = model.forecast(batch_of(past), queries(later.times)).quantile(torch.tensor([0.5]))[0, ..., 0].numpy()
            errors.append(np.abs(later.values - mean)[np.isfinite(later.values)])
        scores[name] = np.concatenate(errors).mean()
    assert scores["pooled"] < 0.8 * scores["alone"]


def test_a_forecast_depends_on_the_rows_own_past_alone(learned):
    (one, two), _ = stars(2, n_nights=40, seed=5)
    past, later = given(one)
    times = queries(later.times[:4])
    alone = learned.forecast(batch_of(past), times).params[0]
    torch.testing.assert_close(learned.forecast(batch_of(one), times[:, :1]).params[0], alone[:1], rtol=0, atol=0)
    with_mate = learned.forecast(batch_of(two, past), torch.cat([times, times]).flip(1)).params[1].flip(0)
    torch.testing.assert_close(with_mate, alone, rtol=0, atol=0)
    changed = Series(one.times, np.where(np.arange(len(one.times))[:, None] < len(past.times), one.values, 99.0))
    torch.testing.assert_close(learned.forecast(batch_of(changed), times[:, :1]).params[0], alone[:1], rtol=0, atol=0)


def test_an_event_at_the_query_is_seen_from_the_right_alone(learned):
    (star,), _ = stars(1, n_nights=30, seed=6)
    batch, at_last = batch_of(star), queries(star.times[-1:])
    left, right = (learned.forecast(batch, at_last, side).params for side in ("left", "right"))
    before = learned.forecast(batch_of(star.part(slice(-1))), at_last).params
    torch.testing.assert_close(left, before, rtol=0, atol=0)
    assert not torch.equal(left, right)


@pytest.mark.slow
def test_units_of_time_and_value_move_the_forecast_with_them():
    series, _ = stars(9, n_nights=30, seed=8)
    later = given(series[-1])[1]
    moved = [Series(24.0 * row.times + 5e3, 1000.0 * row.values - 40.0) for row in series]
    found = []
    for rows, times, factor, shift in ((series, later.times, 1.0, 0.0), (moved, 24.0 * later.times + 5e3, 1e3, 40.0)):
        model = FoldedModel(2)
        model.learn(rows[:-1])
        assert model.is_learned.all()
        forecast = model.forecast(batch_of(given(rows[-1])[0]), queries(times))
        found.append((forecast.quantile(torch.tensor([0.1, 0.5, 0.9])) + shift) / factor)
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)


def test_short_and_empty_histories_get_the_level(learned):
    short = Series(np.array([0.0, 1.0]), np.array([[15.0, np.nan], [17.0, np.nan]]))
    forecast = learned.forecast(batch_of(short), queries(np.array([-1.0, 5.0])))
    assert forecast.mean[0, 1, 0] == pytest.approx(16.0)
    torch.testing.assert_close(forecast.mean[0, 0], learned.level[0])
    assert torch.isfinite(forecast.params).all()
    assert (learned.forecast(batch_of(short), queries(np.array([5.0]))).variance > 0.0).all()


@pytest.mark.slow
def test_paths_follow_the_forecast_at_each_time_and_share_what_is_not_known_of_the_shape(learned):
    (star,), _ = stars(1, n_nights=40, seed=9)
    past, later = given(star)
    times = np.array([later.times[0], later.times[0] + 1e-5, later.times[5]])
    paths = learned.sample(batch_of(past), queries(times), 4000, torch.Generator().manual_seed(0))[:, 0, :, 0]
    forecast = learned.forecast(batch_of(past), queries(times))
    level = torch.tensor([0.1, 0.5, 0.9])
    below = (paths[..., None] < forecast.quantile(level)[0, :, 0]).double().mean(dim=0)
    # a share of 4000 draws has a standard error of at most 0.008
    torch.testing.assert_close(below, level.expand(3, 3).double(), rtol=0, atol=0.048)
    assert torch.corrcoef(paths.T)[0, 1] > 0.05


def test_a_channel_without_values_does_not_disturb_the_others(learned):
    (star,), period = stars(1, n_nights=40, seed=10)
    past = given(star)[0]
    first = Series(past.times, np.where([True, False], past.values, np.nan))
    forecast = learned.forecast(batch_of(first), queries(star.times[-4:]))
    assert learned.periods(batch_of(first))[0] == pytest.approx(period[0], rel=1e-3)
    torch.testing.assert_close(forecast.mean[0, :, 1], learned.level[0, 1].expand(4))
    assert torch.isfinite(forecast.params).all()


def test_a_constant_series_is_forecast_as_it_is():
    times = np.cumsum(np.random.default_rng(0).uniform(0.5, 1.5, 40))
    model = FoldedModel(1)
    model.learn([Series(times, np.full((40, 1), 3.0))])
    forecast = model.forecast(batch_of(Series(times, np.full((40, 1), 3.0))), queries(times[-1:] + 2.0))
    assert forecast.mean.item() == pytest.approx(3.0, abs=1e-6)


def test_weights_come_back_from_tensors_of_a_file(learned):
    tensors = {f"module.{name}": tensor for name, tensor in learned.state_dict().items()}
    loaded = load_weights(lambda: FoldedModel(2), tensors, torch.float64)
    (star,), _ = stars(1, n_nights=30, seed=11)
    at = queries(star.times[-1:] + 1.0)
    torch.testing.assert_close(
        loaded.forecast(batch_of(star), at).params, learned.forecast(batch_of(star), at).params, rtol=0, atol=0
    )


def test_the_simulated_curve_rises_fast_and_falls_slowly():
    curve = sawtooth(np.linspace(0.0, 1.0, 1001))
    assert np.argmax(curve) < 250 and curve.max() < 1.3  # noqa: PT018

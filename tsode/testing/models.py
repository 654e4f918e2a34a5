"""Contract of a `ForecastModel`, below the estimators: tensors in, tensors out."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.models.base import ForecastModel
from tsode.testing.assertions import assert_close
from tsode.testing.examples import example_batch

__all__ = ["MODEL_CHECKS", "check_model"]


def check_model(model: ForecastModel) -> None:
    """Run all of `MODEL_CHECKS`, in float64 and in float32.

    Raises
    ------
    AssertionError
        That names the promise which does not hold.
    """
    for dtype in (torch.float64, torch.float32):
        batch, queries = example_batch(model.n_channels, dtype)
        module = copy.deepcopy(model).to(dtype).eval()
        for check in MODEL_CHECKS:
            check(module, batch, queries)


def check_rows_are_alone(model: ForecastModel, batch: IrregularBatch, queries: Tensor) -> None:
    """A series alone, in a batch and in a permuted batch has the same forecast."""
    together = _params(model, batch, queries)
    for row in range(batch.n_series):
        n = int(batch.lengths[row])
        one = IrregularBatch(
            batch.times[row : row + 1, :n],
            batch.values[row : row + 1, :n],
            batch.mask[row : row + 1, :n],
            batch.lengths[row : row + 1],
        )
        alone = _params(model, one, queries[row : row + 1])
        assert_close(alone, together[row : row + 1], "a series alone is forecast as in a batch")
    order = torch.tensor([4, 2, 0, 3, 1])
    permuted = _params(model, batch.select(order), queries[order])
    assert_close(permuted, together[order], "the order of series is free")


def check_padding_is_nothing(model: ForecastModel, batch: IrregularBatch, queries: Tensor) -> None:
    """Wider padding changes neither forecast nor gradient."""
    wide = _widen(batch, 3)
    assert_close(_params(model, wide, queries), _params(model, batch, queries), "padding changes nothing")
    _compare_gradients(model, wide, batch, "padding changes no gradient")


def check_queries_are_alone(model: ForecastModel, batch: IrregularBatch, queries: Tensor) -> None:
    """Asking for more times, or in another order, changes no other answer."""
    together = _params(model, batch, queries)
    for k in range(queries.shape[1]):
        single = _params(model, batch, queries[:, k : k + 1])
        assert_close(together[:, k : k + 1], single, "asking for more times changes no other answer")
    swapped = _params(model, batch, queries.flip(1)).flip(1)
    assert_close(swapped, together, "the order of query times is free")


def check_future_is_unseen(model: ForecastModel, batch: IrregularBatch, queries: Tensor) -> None:
    """Data at or after a time never change the forecast at it."""
    together = _params(model, batch, queries)
    for k in range(queries.shape[1]):
        after = batch.times >= queries[:, k : k + 1]
        changed = batch.replace(values=torch.where(after[..., None], batch.values + 5.0, batch.values))
        forecast = _params(model, changed, queries[:, k : k + 1])
        assert_close(forecast, together[:, k : k + 1], "data from a time on never change the forecast at it")
        masked = batch.replace(mask=batch.mask & ~after[..., None])
        forecast = _params(model, masked, queries[:, k : k + 1])
        assert_close(forecast, together[:, k : k + 1], "data from a time on can be missing for the forecast at it")


def check_masked_event_is_nothing(model: ForecastModel, batch: IrregularBatch, queries: Tensor) -> None:
    """An event at which nothing was seen changes neither forecast nor gradient."""
    middle = 0.5 * (batch.times[:, :1] + batch.times[:, -1:])
    times, order = torch.cat([batch.times, middle], dim=1).sort(dim=1, stable=True)
    pick = order[..., None].expand(-1, -1, batch.n_channels)
    blank = torch.zeros_like(batch.values[:, :1])
    more = IrregularBatch(
        times,
        torch.cat([batch.values, blank], dim=1).gather(1, pick),
        torch.cat([batch.mask, blank.bool()], dim=1).gather(1, pick),
        batch.lengths + 1,
    )
    assert_close(_params(model, more, queries), _params(model, batch, queries), "an event that saw nothing is a no-op")
    _compare_gradients(model, more, batch, "an event that saw nothing changes no gradient")


def check_unseen_values_are_unread(model: ForecastModel, batch: IrregularBatch, queries: Tensor) -> None:
    """Unseen values filled with NaN change neither forecast nor gradient."""
    filled = batch.replace(values=torch.where(batch.mask, batch.values, torch.nan))
    forecast = _params(model, filled, queries)
    assert torch.equal(forecast, _params(model, batch, queries)), "unseen values filled with NaN change no forecast."
    _compare_gradients(model, filled, batch, "unseen values filled with NaN change no gradient")


def check_origin_is_free(model: ForecastModel, batch: IrregularBatch, queries: Tensor) -> None:
    """A shift of all times changes nothing; models of fields that read the time are let off."""
    if not getattr(getattr(getattr(model, "evolution", None), "dynamics", None), "is_autonomous", True):
        return
    rows = (batch.lengths > 0).nonzero()[:, 0]  # a series without events has no origin of its own
    some, asked = batch.select(rows), queries[rows]
    later = _params(model, some.replace(times=some.times + 4096.0), asked + 4096.0)
    assert_close(later, _params(model, some, asked), "the origin of time changes nothing")


def check_samples(model: ForecastModel, batch: IrregularBatch, queries: Tensor) -> None:
    """Samples have their shape, come again with the same generator, and have the forecast's own quantiles."""
    n_samples = 400
    with torch.no_grad():
        drawn = model.sample(batch, queries, n_samples, torch.Generator().manual_seed(1))
        again = model.sample(batch, queries, n_samples, torch.Generator().manual_seed(1))
    assert drawn.shape == (n_samples, *queries.shape, batch.n_channels), f"samples are (s b m c), not {drawn.shape}."
    assert torch.equal(drawn, again), "the same generator draws the same samples."
    assert bool(torch.isfinite(drawn).all()), "samples are finite."
    forecast = model.forecast(batch, queries)
    for level in (0.1, 0.5, 0.9):
        bound = forecast.quantile(torch.tensor([level], dtype=forecast.params.dtype))[..., 0]
        share = (drawn <= bound).double().mean(dim=0)
        # six standard errors of a share of independent draws
        error = 6.0 * (level * (1.0 - level) / n_samples) ** 0.5
        worst = float((share - level).abs().max())
        assert worst <= error, f"a share {level} of samples lies below that quantile: off by {worst:.3g}."


def check_forecast_is_whole(model: ForecastModel, batch: IrregularBatch, queries: Tensor) -> None:
    """A forecast has a finite answer of the values' dtype for every query, also before and without events."""
    forecast = model.forecast(batch, queries)
    assert forecast.params.shape[:3] == (*queries.shape, batch.n_channels), "params are (b m c p)."
    assert forecast.params.dtype == batch.values.dtype, "a forecast has the dtype of the values."
    assert bool(torch.isfinite(forecast.params).all()), "a forecast is finite."
    assert not bool(forecast.status.any()), f"a forecast reaches its times: status {forecast.status.tolist()}."
    assert bool((forecast.variance > 0).all()), "a forecast has a positive variance."


MODEL_CHECKS: tuple[Callable[[ForecastModel, IrregularBatch, Tensor], None], ...] = (
    check_forecast_is_whole,
    check_rows_are_alone,
    check_padding_is_nothing,
    check_queries_are_alone,
    check_future_is_unseen,
    check_masked_event_is_nothing,
    check_unseen_values_are_unread,
    check_origin_is_free,
    check_samples,
)
"""Each takes a model in evaluation mode, a batch and query times in the model's dtype, see `example_batch`."""


def _params(model: ForecastModel, batch: IrregularBatch, queries: Tensor) -> Tensor:
    with torch.no_grad():
        return model.forecast(batch, queries).params


def _widen(batch: IrregularBatch, by: int) -> IrregularBatch:
    return IrregularBatch(
        torch.cat([batch.times, batch.times[:, -1:].expand(-1, by)], dim=1),
        torch.nn.functional.pad(batch.values, (0, 0, 0, by)),
        torch.nn.functional.pad(batch.mask, (0, 0, 0, by)),
        batch.lengths,
    )


def _compare_gradients(model: ForecastModel, left: IrregularBatch, right: IrregularBatch, promise: str) -> None:
    """Compare the loss of forecasts at fixed times, and its gradients, for two batches that must mean the same."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        return
    queries = torch.linspace(0.25, 2.5, 4, dtype=torch.float64).expand(left.n_series, -1)

    def gradients(batch: IrregularBatch) -> list[Tensor]:
        forecast = model.forecast(batch, queries)
        loss = forecast.mean.square().mean() + forecast.variance.log().mean()
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        return [loss.detach()[None]] + [p.new_zeros(1) if g is None else g for g, p in zip(found, parameters)]

    for got, want in zip(gradients(left), gradients(right)):
        assert_close(got, want, promise)

"""Calibration after training: the spread of forecasts and the dependence of their errors, from validation windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.core.forecast import Forecast
from tsode.likelihoods.base import Likelihood
from tsode.models.filters.base import MarginalModel
from tsode.models.spread_calibration import FEWEST, SpreadCalibration
from tsode.training.windows import Window

__all__ = ["calibrate", "each_of", "fit_spread"]

Judged = TypeVar("Judged")


class Spreading(Protocol):
    """A forecast model whose spread can be set after training."""

    likelihood: Likelihood
    spread: SpreadCalibration

    def forecast(self, batch: IrregularBatch, query_times: Tensor) -> Forecast: ...


@torch.no_grad()
def fit_spread(model: Spreading, held_out: Sequence[tuple[Spreading, Sequence[Window]]]) -> None:
    """Set the spread curve of a model in place, from forecasts of windows by itself or by its members."""
    model.spread.reset()
    params, lead, channel, truth = [], [], [], []
    for judged, window in each_of(held_out):
        targets = window.targets
        forecast = judged.forecast(window.context, targets.times)
        row, query, c = targets.mask.nonzero(as_tuple=True)
        params.append(forecast.params[row, query, c])
        lead.append(window.context.since_last(targets.times)[row, query])
        channel.append(c)
        truth.append(targets.values[row, query, c])
    if params:
        model.spread.fit(
            held_out[0][0].likelihood, torch.cat(params), torch.cat(lead), torch.cat(channel), torch.cat(truth)
        )


@torch.no_grad()
def calibrate(model: MarginalModel, held_out: Sequence[tuple[MarginalModel, Sequence[Window]]]) -> None:
    """Set a model's spread curve and residual process in place.

    Parameters
    ----------
    model : MarginalModel
    held_out : sequence of (MarginalModel, sequence of Window)
        Windows, and who forecasts them without having learned from them: the model itself or, of an ensemble, a member.
    """
    fit_spread(model, held_out)
    windows = [window for _, window in each_of(held_out)]
    if sum(int(window.targets.mask.sum()) for window in windows) < FEWEST:
        return
    width = max(window.targets.n_events for window in windows)
    errors, variances, masks, moments = [], [], [], []
    for judged, window in each_of(held_out):
        targets, pad = window.targets, width - window.targets.n_events
        forecast = judged.forecast(window.context, targets.times)
        if judged is not model:  # a member's spread is that of the ensemble
            lead = window.context.since_last(targets.times)
            params = judged.likelihood.rescale(forecast.params, model.spread(lead).to(forecast.params))
            forecast = replace(forecast, params=params)
        errors.append(_widen(targets.values - forecast.mean, pad))
        variances.append(_widen(forecast.variance, pad, fill=1.0))
        masks.append(_widen(targets.mask, pad))
        moments.append(torch.nn.functional.pad(targets.times, (0, pad)))
    model.residuals.fit(torch.cat(moments), torch.cat(errors), torch.cat(variances), torch.cat(masks))


def each_of(held_out: Sequence[tuple[Judged, Sequence[Window]]]) -> Iterator[tuple[Judged, Window]]:
    """Each window beside who forecasts it."""
    return ((model, window) for model, windows in held_out for window in windows)


def _widen(tensor: Tensor, pad: int, fill: float = 0.0) -> Tensor:
    return torch.nn.functional.pad(tensor, (0, 0, 0, pad), value=fill)

"""Calibration after training: the spread of forecasts and the dependence of their errors, from validation windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.core.forecast import Forecast
from tsode.likelihoods.base import Likelihood
from tsode.models.filters.base import MarginalModel
from tsode.models.spread_calibration import FEWEST, SpreadCalibration
from tsode.training.windows import Window

__all__ = ["calibrate", "fit_spread"]


class Spreading(Protocol):
    """A forecast model whose spread can be set after training."""

    likelihood: Likelihood
    spread: SpreadCalibration

    def forecast(self, batch: IrregularBatch, query_times: Tensor) -> Forecast: ...


@torch.no_grad()
def fit_spread(model: Spreading, windows: Sequence[Window]) -> None:
    """Set the spread curve of a model from its forecasts of validation windows, in place."""
    model.spread.reset()
    params, lead, channel, truth = [], [], [], []
    for window in windows:
        targets = window.targets
        forecast = model.forecast(window.context, targets.times)
        row, query, c = targets.mask.nonzero(as_tuple=True)
        params.append(forecast.params[row, query, c])
        lead.append(window.context.since_last(targets.times)[row, query])
        channel.append(c)
        truth.append(targets.values[row, query, c])
    if params:
        model.spread.fit(model.likelihood, torch.cat(params), torch.cat(lead), torch.cat(channel), torch.cat(truth))


@torch.no_grad()
def calibrate(model: MarginalModel, windows: Sequence[Window]) -> None:
    """Set a model's spread curve and residual process from validation windows, in place."""
    fit_spread(model, windows)
    if sum(int(window.targets.mask.sum()) for window in windows) < FEWEST:
        return
    width = max(window.targets.n_events for window in windows)
    errors, variances, masks, moments = [], [], [], []
    for window in windows:
        targets, pad = window.targets, width - window.targets.n_events
        forecast = model.forecast(window.context, targets.times)
        errors.append(_widen(targets.values - forecast.mean, pad))
        variances.append(_widen(forecast.variance, pad, fill=1.0))
        masks.append(_widen(targets.mask, pad))
        moments.append(torch.nn.functional.pad(targets.times, (0, pad)))
    model.residuals.fit(torch.cat(moments), torch.cat(errors), torch.cat(variances), torch.cat(masks))


def _widen(tensor: Tensor, pad: int, fill: float = 0.0) -> Tensor:
    return torch.nn.functional.pad(tensor, (0, 0, 0, pad), value=fill)

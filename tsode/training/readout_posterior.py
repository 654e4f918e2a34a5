"""Fit of the posterior of a filter's readouts, from windows of what it has learned from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tsode.core.series import Series
from tsode.models.filters.base import MarginalModel
from tsode.models.filters.readout_posterior import ReadoutPosterior, last_read, with_one
from tsode.training.windows import Window

__all__ = ["fit_readout_posterior"]


@torch.no_grad()
def fit_readout_posterior(
    model: MarginalModel, windows: Sequence[Window], series: Sequence[Series]
) -> ReadoutPosterior | None:
    """The posterior of a trained model's readouts; None where its locations are not linear in a last layer.

    Windows of one series overlap, and there are as many of few series as of many: what their values tell together is
    scaled to the number of values that there are.

    Parameters
    ----------
    model : MarginalModel
        With its spread calibrated: the variances are those of its forecasts.
    windows : sequence of Window
    series : sequence of Series
        What the model has learned from.
    """
    posterior = ReadoutPosterior.of(model.members)
    if posterior is None:
        return None
    total, share, n_values = None, torch.zeros(model.n_channels, dtype=torch.float64), 0
    for window in windows:
        context, targets = window.context, window.targets
        with last_read(model.members) as read:
            params, _ = model.predict_params(context, targets.times, "left")
        factor = model.spread(context.since_last(targets.times)).to(params)
        variance = model.likelihood.variance(model.likelihood.rescale(params, factor))
        weight = (targets.mask / variance).double().flatten(0, 1).cpu()
        layers = torch.stack([with_one(h.reshape(len(weight), -1).double().cpu()) for h in read])
        of_window = layers.mT @ (layers * weight.sum(dim=1)[:, None])
        if not bool(of_window.isfinite().all()):
            continue
        total = of_window if total is None else total + of_window
        share += weight.sum(dim=0)
        n_values += int(targets.mask.sum())
    if total is None or not n_values:
        return None
    there_are = sum(int(np.isfinite(row.values).sum()) for row in series)
    posterior.fit(total * (there_are / n_values), share / share.sum())
    return posterior

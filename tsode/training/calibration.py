"""After training: one factor on the spread, and the dependence of errors, both from validation windows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tsode.likelihoods.base import Likelihood
from tsode.models.marginal import MarginalModel
from tsode.training.windows import Window

__all__ = ["calibrate", "spread_factor"]


def spread_factor(likelihood: Likelihood, params: Tensor, x: Tensor, level: float = 0.9) -> Tensor:
    """Factor on the spread at which the central interval of `level` holds that share of `x`.

    Parameters
    ----------
    params : Tensor[k p]
    x : Tensor[k]
        Held-out truths.
    """
    upper = likelihood.quantile(params, params.new_tensor(0.5 + 0.5 * level))
    centre = likelihood.quantile(params, params.new_tensor(0.5))
    ratio = (x - centre).abs() / (upper - centre)
    position = max(int(level * (len(ratio) + 1)) - 1, 0)
    return ratio.sort().values[min(position, len(ratio) - 1)].clamp(0.2, 5.0)


@torch.no_grad()
def calibrate(model: MarginalModel, windows: Sequence[Window]) -> None:
    """Set the model's spread factor and residual process from validation windows, in place."""
    params, truth, mask, times = [], [], [], []
    for window in windows:
        ahead, _ = model.look_ahead(window.context, window.targets.times)
        params.append(ahead.flatten(0, 1))
        truth.append(window.targets.values.flatten(0, 1))
        mask.append(window.targets.mask.flatten(0, 1))
        times.append((ahead, window.targets))
    if not mask or int(sum(m.sum() for m in mask)) < 20:
        return  # too little to estimate a tail from: the trained spread stands
    seen = torch.cat(mask)
    model.spread.copy_(spread_factor(model.likelihood, torch.cat(params)[seen], torch.cat(truth)[seen]))
    width = max(targets.n_events for _, targets in times)
    errors, variances, masks, moments = [], [], [], []
    for ahead, targets in times:
        pad = width - targets.n_events
        ahead = model.likelihood.rescale(ahead, model.spread)
        errors.append(_widen(targets.values - model.likelihood.mean(ahead), pad))
        variances.append(_widen(model.likelihood.variance(ahead), pad, fill=1.0))
        masks.append(_widen(targets.mask, pad))
        moments.append(torch.nn.functional.pad(targets.times, (0, pad)))
    model.residuals.fit(torch.cat(moments), torch.cat(errors), torch.cat(variances), torch.cat(masks))


def _widen(tensor: Tensor, pad: int, fill: float = 0.0) -> Tensor:
    return torch.nn.functional.pad(tensor, (0, 0, 0, pad), value=fill)

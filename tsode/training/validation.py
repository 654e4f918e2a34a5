"""Validation scores of filters: of windows, by whoever has not learned from them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from tsode.models.filters.base import MarginalModel
from tsode.training.calibration import each_of
from tsode.training.objective import SCORES, is_ok
from tsode.training.windows import Window

__all__ = ["score_windows"]


def score_windows(
    held_out: Sequence[tuple[MarginalModel, Sequence[Window]]], loss: str, weight: Tensor
) -> dict[str, float]:
    """Mean score and squared error of the forecasts; a failed solve counts as infinitely bad.

    Parameters
    ----------
    held_out : sequence of (MarginalModel, sequence of Window)
        See `tsode.training.calibration.calibrate`.
    loss : str
        Name in `tsode.training.objective.SCORES`.
    weight : Tensor[c]
        Of a value of each channel; those of weight 0 are not looked at.
    """
    total = squared = count = 0.0
    for model, window in each_of(held_out):
        params, status = model.predict_params(window.context, window.targets.times, "left")
        if not bool(is_ok(status).all()):
            return {"loss": float("inf"), "mse": float("inf")}
        mask = window.targets.mask & (weight > 0.0)
        truth, params = window.targets.values[mask], params[mask]
        total += float(SCORES[loss](model.likelihood, params, truth) @ weight[mask.nonzero()[:, 2]])
        squared += float(((model.likelihood.mean(params) - truth) ** 2).sum())
        count += len(truth)
    return {"loss": total / max(count, 1.0), "mse": squared / max(count, 1.0)}

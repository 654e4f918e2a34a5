"""What a jump filter is trained on: a proper score of forecast, backcast and one-step predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode._registry import lookup
from tsode.core.batch import IrregularBatch
from tsode.core.status import Status
from tsode.likelihoods.base import Likelihood
from tsode.models.jump_filter import JumpFilter
from tsode.training.windows import Window

__all__ = ["SCORES", "FilterObjective", "masked_mean"]


def _crps(likelihood: Likelihood, params: Tensor, x: Tensor) -> Tensor:
    return likelihood.crps(params, x)


def _nll(likelihood: Likelihood, params: Tensor, x: Tensor) -> Tensor:
    return -likelihood.log_prob(params, x)


def _mse(likelihood: Likelihood, params: Tensor, x: Tensor) -> Tensor:
    # the location learns from the squared error alone; the spread from the CRPS around a location held fixed
    held = torch.cat([params[..., :1].detach(), params[..., 1:]], dim=-1)
    return (x - likelihood.mean(params)) ** 2 + likelihood.crps(held, x)


def _quantile(likelihood: Likelihood, params: Tensor, x: Tensor) -> Tensor:
    levels = torch.arange(1, 10, dtype=x.dtype, device=x.device) / 10.0
    return likelihood.pinball(params, x, levels)


SCORES: dict[str, Callable[[Likelihood, Tensor, Tensor], Tensor]] = {
    "crps": _crps,
    "mse": _mse,
    "nll": _nll,
    "quantile": _quantile,
}


def masked_mean(score: Tensor, mask: Tensor) -> Tensor:
    """Mean over the entries that are seen; 0 where none is."""
    return (score * mask).sum() / mask.sum().clamp(min=1)


@dataclass(frozen=True)
class FilterObjective:
    """Weighted sum of three scores of one pass: forecast, backcast and one-step.

    The backcast runs the flow back from the last event over the context, at most one horizon, without the last
    value: it asks the state to remember the path it came along. It is left out where the evolution cannot run
    backward. Each term is the mean over the batch's values of its kind.

    Parameters
    ----------
    score : str
        Name in `SCORES`: "crps" (default), "nll", "mse" or "quantile".
    backcast, one_step : float
        Weights beside the forecast's 1.
    horizon : float
        Reach of the backcast, in model time.
    """

    score: str = "crps"
    backcast: float = 0.5
    one_step: float = 0.5
    horizon: float = 1.0

    def __call__(self, model: JumpFilter, window: Window) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Loss, its parts, and the status of each row; a caller leaves out rows whose status is not OK."""
        score = lookup(SCORES, self.score, "score")
        context, targets = window.context, window.targets
        filtered = model.filter(context)

        def term(params: Tensor, truth: IrregularBatch, mask: Tensor) -> Tensor:
            return masked_mean(score(model.likelihood, params, truth.values), mask)

        params, status = model.ahead(filtered, targets.times)
        parts = {"forecast": term(params, targets, targets.mask)}
        loss = parts["forecast"]
        if self.one_step and context.n_events:
            parts["one_step"] = term(model.one_step(filtered), filtered.batch, filtered.batch.mask)
            loss = loss + self.one_step * parts["one_step"]
        if self.backcast and context.n_events and model.evolution.runs_backward:
            hidden = window.hidden
            edge = filtered.path.times[:, -1:] - self.horizon
            within = hidden.times >= edge
            # times out of reach are moved to its edge, so that a decaying mode does not overflow on its way back
            reach = torch.maximum(hidden.times, edge)
            params, back_status = model.ahead(filtered, reach, with_last=False)
            parts["backcast"] = term(params, hidden, hidden.mask & within[..., None])
            loss = loss + self.backcast * parts["backcast"]
            status = torch.maximum(status, back_status)
        return loss, parts, status


def is_ok(status: Tensor) -> Tensor:
    """Rows whose solve reached its end."""
    return status == int(Status.OK)

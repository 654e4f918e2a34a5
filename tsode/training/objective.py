"""Training objective of jump filters: a proper score of forecast, backcast and one-step predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tsode._registry import lookup
from tsode.core.batch import IrregularBatch
from tsode.core.series import Series
from tsode.core.status import Status, worst
from tsode.likelihoods.base import Likelihood
from tsode.models.filters.ensemble import Ensemble
from tsode.models.filters.jump_filter import Filtered, JumpFilter, run_filters
from tsode.training.observation_times import times_loss
from tsode.training.windows import Window

__all__ = ["SCORES", "FilterObjective", "channel_weights", "masked_mean"]

MOST_SCORED = 16  # about so many events of a context are cast back to, and forecast one by one: neighbours are alike


def _crps(likelihood: Likelihood, params: Tensor, x: Tensor) -> Tensor:
    return likelihood.crps(params, x)


def _nll(likelihood: Likelihood, params: Tensor, x: Tensor) -> Tensor:
    return -likelihood.log_prob(params, x)


def _mse(likelihood: Likelihood, params: Tensor, x: Tensor) -> Tensor:
    mean = likelihood.mean(params)
    # the mean learns from the squared error alone, all else from the CRPS around a mean held fixed
    fixed = likelihood.affine(params, mean.detach() - mean, torch.ones_like(mean))
    return (x - mean) ** 2 + likelihood.crps(fixed, x)


def _quantile(likelihood: Likelihood, params: Tensor, x: Tensor) -> Tensor:
    levels = torch.arange(1, 10, dtype=x.dtype, device=x.device) / 10.0
    return likelihood.pinball(params, x, levels)


SCORES: dict[str, Callable[[Likelihood, Tensor, Tensor], Tensor]] = {
    "crps": _crps,
    "mse": _mse,
    "nll": _nll,
    "quantile": _quantile,
}


def masked_mean(score: Tensor, mask: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over the entries that are seen, each with the weight (c,) of its channel; 0 where none is."""
    total = (score * mask).sum() if weight is None else (score * mask) @ weight
    return total.sum() / mask.sum().clamp(min=1)


def channel_weights(series: Sequence[Series], balance: float) -> Tensor:
    """Weight of a value of each channel, (c,) float64: its channel's number of values to the power ``-balance``.

    Scaled so that the mean over all values is 1. `balance` is a weight exponent for rarely observed channels: with 0
    every value counts the same, with 1 every channel does.
    """
    count = torch.from_numpy(sum((~np.isnan(each.values)).sum(axis=0) for each in series)).double()
    weight = count.clamp(min=1.0) ** -balance
    return weight * count.sum() / (weight * count).sum().clamp(min=1e-12)


@dataclass(frozen=True)
class FilterObjective:
    """Weighted sum of scores of one pass: forecast, backcast, one-step and, for a model of them, observation times.

    The backcast runs the flow back from the last observation over the context, at most one horizon and not past an
    input, without the last value, so that the state must remember the path it came along. It is left out where the
    evolution cannot run backward, or where a part of the state answers to inputs alone: it may decay faster than can be
    run back over. Each term is the mean over the batch's values of its kind.

    Parameters
    ----------
    score : str
        Name in `SCORES`: "crps" (default), "nll", "mse" or "quantile".
    backcast, one_step : float
        Weights beside the forecast's 1. Both are means over some of the events of long contexts.
    horizon : float
        Reach of the backcast, in model time.
    weight : Tensor[c] or None
        Of a value of each channel, see `channel_weights`; None = 1.
    times : float
        Weight of the log-likelihood of when observations come, where the model has an intensity.
    folds : Tensor[n] or None
        Of the series that windows are cut from: then member ``m`` does not learn from those of fold ``m``.
    """

    score: str = "crps"
    backcast: float = 0.5
    one_step: float = 0.5
    horizon: float = 1.0
    weight: Tensor | None = None
    times: float = 0.05
    folds: Tensor | None = None

    def __call__(self, model: JumpFilter | Ensemble, window: Window) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Loss, its parts, and the status of each row; a caller leaves out rows whose status is not OK.

        The loss of an ensemble is the mean of its members' losses: each learns by itself.
        """
        members = model.members
        filtered = run_filters(members, window.context)
        runs_backward = model.evolution.runs_backward and not members[0].jump.n_response
        goes_back = self.backcast and window.context.n_events and runs_backward
        queries = find_queries(window, filtered[0], self.horizon if goes_back else None)
        losses = [
            self._member(member, run, queries, bool(goes_back), self._learns(window, m))
            for m, (member, run) in enumerate(zip(members, filtered))
        ]
        parts = {name: torch.stack([parts[name] for parts, _ in losses]).mean() for name in losses[0][0]}
        weights = {"forecast": 1.0, "one_step": self.one_step, "backcast": self.backcast, "times": self.times}
        loss = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        return loss, parts, worst(*(status for _, status in losses))

    def _learns(self, window: Window, m: int) -> Tensor | None:
        """The rows that member `m` learns from: Tensor[b], or None for all."""
        return None if self.folds is None or window.number is None else self.folds[window.number] != m

    def _member(
        self, model: JumpFilter, filtered: Filtered, queries: WindowQueries, goes_back: bool, learns: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The parts of one model's loss, from all rows or those it learns from, and the status of each row."""
        score = lookup(SCORES, self.score, "score")
        is_back = queries.is_back.flatten()[queries.at, None]
        if filtered.batch.inputs is None:
            params, status = model.predict_after_last(filtered, queries.times, ~queries.is_back, queries.at)
        else:
            index = torch.minimum(filtered.path.index_before(queries.times), filtered.batch.lengths[:, None])
            index = torch.where(queries.is_back, filtered.n_observed[:, None], index)
            params, status = model.predict_after(filtered, queries.times, index, ~queries.is_back, queries.at)
        scores, mask = score(model.likelihood, params, queries.values), queries.mask
        if learns is not None:
            mask = mask & learns.repeat_interleave(queries.times.shape[1])[queries.at, None]
        parts = {"forecast": masked_mean(scores, mask & ~is_back, self.weight)}
        if goes_back:
            parts["backcast"] = masked_mean(scores, mask & is_back, self.weight)
        if self.one_step and filtered.batch.n_events:
            at = _scored(filtered.batch).flatten()[filtered.events.flat_index].nonzero()[:, 0]
            index = filtered.events.flat_index[at]
            values, mask = (t.flatten(0, 1)[index] for t in (filtered.batch.values, filtered.batch.mask))
            if learns is not None:
                mask = mask & learns.repeat_interleave(filtered.batch.n_events)[index, None]
            scores = score(model.likelihood, model.one_step(filtered, at), values)
            parts["one_step"] = masked_mean(scores, mask, self.weight)
        if model.intensity is not None and filtered.batch.n_events:
            parts["times"] = times_loss(model, filtered)
        return parts, status


class WindowQueries(NamedTuple):
    """Queries of a window whose truth was observed: targets, and context to be cast back to.

    Parameters
    ----------
    times : Tensor[b m], float64
    is_back : Tensor[b m], bool
        Whether a query is in the context.
    at : Tensor[q]
        Those of the flattened queries that are not padding.
    values, mask : Tensor[q c]
        The truth at these.
    """

    times: Tensor
    is_back: Tensor
    at: Tensor
    values: Tensor
    mask: Tensor


def find_queries(window: Window, filtered: Filtered, reach: float | None) -> WindowQueries:
    """The targets of a window and, at most `reach` back from the last observation, its context."""
    parts, mask = [window.targets], [window.targets.mask]
    times = window.targets.times
    if reach is not None:
        hidden, edge = window.hidden, _earliest(filtered, reach)
        is_scored = _scored(hidden) & (hidden.times >= edge)
        parts, mask = [*parts, hidden], [*mask, hidden.mask & is_scored[..., None]]
        # times out of reach are moved to its edge, so that a decaying mode does not overflow on its way back
        times = torch.cat([times, torch.maximum(hidden.times, edge)], dim=1)
    is_seen = torch.cat(mask, dim=1)
    is_query = is_seen.any(dim=2)
    is_back = (torch.arange(times.shape[1], device=times.device) >= window.targets.n_events).expand_as(is_query)
    width = max(1, int(is_query.sum(dim=1).max())) if is_query.numel() else 1
    order = (~is_query).to(torch.int8).argsort(dim=1, stable=True)[:, :width]
    at = is_query.gather(1, order).flatten().nonzero()[:, 0]
    source = (order + times.shape[1] * torch.arange(len(order), device=order.device)[:, None]).flatten()[at]
    values = torch.cat([batch.values for batch in parts], dim=1).flatten(0, 1)[source]
    return WindowQueries(times.gather(1, order), is_back.gather(1, order), at, values, is_seen.flatten(0, 1)[source])


def _scored(batch: IrregularBatch) -> Tensor:
    """Whether an event of a context is scored, Tensor[b e]: of many every second (third, ...), from the last back.

    Cuts are random, so that other windows score the others.
    """
    stride = (batch.lengths + (MOST_SCORED - 1)).div(MOST_SCORED, rounding_mode="floor").clamp(min=1)[:, None]
    from_last = batch.lengths[:, None] - 1 - torch.arange(batch.n_events, device=batch.times.device)
    return from_last % stride == stride.div(2, rounding_mode="floor")


def _earliest(filtered: Filtered, reach: float) -> Tensor:
    """Earliest time of a backcast from the last observation of each row: Tensor[b 1]."""
    batch, last = filtered.batch, (filtered.n_observed - 1).clamp(min=0)[:, None]
    edge = batch.times.gather(1, last) - reach
    if batch.inputs is None:
        return edge
    is_before = torch.arange(batch.n_events, device=last.device) < last
    latest = batch.times.where(batch.is_input & is_before, -torch.inf).amax(dim=1, keepdim=True)
    return torch.maximum(edge, latest)


def is_ok(status: Tensor) -> Tensor:
    """Rows whose solve reached its end."""
    return status == int(Status.OK)

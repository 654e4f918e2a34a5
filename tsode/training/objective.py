"""What a jump filter is trained on: a proper score of forecast, backcast and one-step predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tsode._registry import lookup
from tsode.core.series import Series
from tsode.core.status import Status, worst
from tsode.likelihoods.base import Likelihood
from tsode.models.filters.ensemble import Ensemble
from tsode.models.filters.jump_filter import Filtered, JumpFilter, filter_together
from tsode.models.filters.observation_times import times_loss
from tsode.training.windows import Window

__all__ = ["SCORES", "FilterObjective", "channel_weights", "masked_mean"]


def _crps(likelihood: Likelihood, params: Tensor, x: Tensor) -> Tensor:
    return likelihood.crps(params, x)


def _nll(likelihood: Likelihood, params: Tensor, x: Tensor) -> Tensor:
    return -likelihood.log_prob(params, x)


def _mse(likelihood: Likelihood, params: Tensor, x: Tensor) -> Tensor:
    mean = likelihood.mean(params)
    # the mean learns from the squared error alone, all else from the CRPS around a mean held fixed
    held = likelihood.affine(params, mean.detach() - mean, torch.ones_like(mean))
    return (x - mean) ** 2 + likelihood.crps(held, x)


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

    Scaled so that the mean over all values is 1. With 0 every value counts the same, so that channels that are seen
    often decide; with 1 every channel does.
    """
    count = torch.from_numpy(sum((~np.isnan(one.values)).sum(axis=0) for one in series)).double()
    weight = count.clamp(min=1.0) ** -balance
    return weight * count.sum() / (weight * count).sum().clamp(min=1e-12)


@dataclass(frozen=True)
class FilterObjective:
    """Weighted sum of scores of one pass: forecast, backcast, one-step and, for a model of them, observation times.

    The backcast runs the flow back from the last observation over the context, at most one horizon and not past an
    input, without the last value: it asks the state to remember the path it came along. It is left out where the
    evolution cannot run backward. Each term is the mean over the batch's values of its kind.

    Parameters
    ----------
    score : str
        Name in `SCORES`: "crps" (default), "nll", "mse" or "quantile".
    backcast, one_step : float
        Weights beside the forecast's 1.
    horizon : float
        Reach of the backcast, in model time.
    weight : Tensor[c] or None
        Of a value of each channel, see `channel_weights`; None = 1.
    times : float
        Weight of the log-likelihood of when observations come, where the model has an intensity.
    """

    score: str = "crps"
    backcast: float = 0.5
    one_step: float = 0.5
    horizon: float = 1.0
    weight: Tensor | None = None
    times: float = 0.05

    def __call__(self, model: JumpFilter | Ensemble, window: Window) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Loss, its parts, and the status of each row; a caller leaves out rows whose status is not OK.

        The loss of an ensemble is the mean of its members' losses: each learns by itself.
        """
        members = model.filters
        filtered = filter_together(members, window.context)
        goes_back = self.backcast and window.context.n_events and model.evolution.runs_backward
        asked = ask(window, filtered[0], self.horizon if goes_back else None)
        found = [self._member(member, own, asked, bool(goes_back)) for member, own in zip(members, filtered)]
        parts = {name: torch.stack([own[name] for own, _ in found]).mean() for name in found[0][0]}
        weights = {"forecast": 1.0, "one_step": self.one_step, "backcast": self.backcast, "times": self.times}
        loss = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        return loss, parts, worst(*(status for _, status in found))

    def _member(
        self, model: JumpFilter, filtered: Filtered, asked: Asked, goes_back: bool
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The parts of one model's loss, and the status of each row."""
        score = lookup(SCORES, self.score, "score")
        is_back = asked.is_back.flatten()[asked.at, None]
        if filtered.batch.inputs is None:
            params, status = model.ahead(filtered, asked.times, ~asked.is_back, asked.at)
        else:
            index = torch.minimum(filtered.path.index_before(asked.times), filtered.batch.lengths[:, None])
            index = torch.where(asked.is_back, filtered.n_observed[:, None], index)
            params, status = model.after(filtered, asked.times, index, ~asked.is_back, asked.at)
        scores = score(model.likelihood, params, asked.values)
        parts = {"forecast": masked_mean(scores, asked.mask & ~is_back, self.weight)}
        if goes_back:
            parts["backcast"] = masked_mean(scores, asked.mask & is_back, self.weight)
        if self.one_step and filtered.batch.n_events:
            values, mask = (t.flatten(0, 1)[filtered.events] for t in (filtered.batch.values, filtered.batch.mask))
            scores = score(model.likelihood, model.one_step(filtered), values)
            parts["one_step"] = masked_mean(scores, mask, self.weight)
        if model.intensity is not None and filtered.batch.n_events:
            parts["times"] = times_loss(model, filtered)
        return parts, status


class Asked(NamedTuple):
    """What a window asks of its series, without what nobody has seen: fewer queries than events to learn from.

    Parameters
    ----------
    times : Tensor[b m], float64
    is_back : Tensor[b m], bool
        Whether a query looks back into the context.
    at : Tensor[q]
        Those of the flattened queries that are not padding.
    values, mask : Tensor[q c]
        The truth there.
    """

    times: Tensor
    is_back: Tensor
    at: Tensor
    values: Tensor
    mask: Tensor


def ask(window: Window, filtered: Filtered, reach: float | None) -> Asked:
    """The targets of a window and, at most `reach` back from the last observation, its context."""
    asked, mask = [window.targets], [window.targets.mask]
    times = window.targets.times
    if reach is not None:
        hidden, edge = window.hidden, _earliest(filtered, reach)
        asked, mask = [*asked, hidden], [*mask, hidden.mask & (hidden.times >= edge)[..., None]]
        # times out of reach are moved to its edge, so that a decaying mode does not overflow on its way back
        times = torch.cat([times, torch.maximum(hidden.times, edge)], dim=1)
    is_seen = torch.cat(mask, dim=1)
    is_asked = is_seen.any(dim=2)
    is_back = (torch.arange(times.shape[1], device=times.device) >= window.targets.n_events).expand_as(is_asked)
    width = max(1, int(is_asked.sum(dim=1).max())) if is_asked.numel() else 1
    order = (~is_asked).to(torch.int8).argsort(dim=1, stable=True)[:, :width]
    at = is_asked.gather(1, order).flatten().nonzero()[:, 0]
    source = (order + times.shape[1] * torch.arange(len(order), device=order.device)[:, None]).flatten()[at]
    values = torch.cat([batch.values for batch in asked], dim=1).flatten(0, 1)[source]
    return Asked(times.gather(1, order), is_back.gather(1, order), at, values, is_seen.flatten(0, 1)[source])


def _earliest(filtered: Filtered, reach: float) -> Tensor:
    """How far back a flow from the last observation is asked for: Tensor[b 1]."""
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

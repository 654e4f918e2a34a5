"""Past of every channel at any query time: last values, their ages, and exponential averages at several scales."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch

__all__ = ["Past", "decayed_sums"]


@dataclass(frozen=True)
class Past:
    """What was seen of each channel before each query; zero where nothing was.

    Parameters
    ----------
    count : Tensor[b m c], int64
        Number of values seen.
    last, before : Tensor[b m c]
        Last value, and the one before it; the last one again where it is the only one.
    time : Tensor[b m c]
        When the last value was seen.
    level : Tensor[b m c]
        Mean of all values.
    averages : Tensor[b m c k]
        Means with weights ``exp(-age / scale)``, for each scale.
    ages : Tensor[b m c k]
        Means of the times by which values are older than the last one, with the same weights.
    changes : Tensor[b m c k]
        Mean squares of the changes from value to value, likewise.
    """

    count: Tensor
    last: Tensor
    before: Tensor
    time: Tensor
    level: Tensor
    averages: Tensor
    ages: Tensor
    changes: Tensor

    @classmethod
    def of(cls, batch: IrregularBatch, query_times: Tensor, side: str, scales: Tensor) -> Past:
        """The past of queries (b m), each of which sees the events before it ("left") or up to it ("right")."""
        batch = batch.after_empty_event(0.0)  # so that there is an event to point at where nothing was seen
        first = batch.times[:, 1:2] if batch.n_events > 1 else batch.times
        times, values = batch.times - first, batch.values.double()
        b, n, c = values.shape
        number = torch.arange(n, device=values.device)[:, None]
        # place of the last event up to each one that saw the channel, and of the one before that; 0 = none
        latest = (batch.mask * number).cummax(dim=1).values
        earlier = torch.cat([latest[:, :1], latest[:, :-1]], dim=1)
        change = torch.where(batch.mask & (earlier > 0), values - values.gather(1, earlier), 0.0)
        seen = batch.mask.double()
        changed = seen * (earlier > 0)
        when = times[..., None].expand(-1, -1, c)
        parts = torch.stack([seen, seen * values, seen * when, changed, changed * change**2], dim=-1)
        parts[:, 0] = 0.0
        gaps = times.diff(dim=1, prepend=times[:, :1]).clamp(min=0.0)
        gaps[:, :2] = 0.0
        sums = decayed_sums(gaps, parts.flatten(2), scales).flatten(2)  # b n (c 5 k)
        index = torch.searchsorted(batch.times[:, 1:].contiguous(), query_times.contiguous(), right=side == "right")
        at = latest.gather(1, index[..., None].expand(-1, -1, c))
        count = batch.mask.long().cumsum(dim=1).gather(1, index[..., None].expand(-1, -1, c))
        total = (seen * values).cumsum(dim=1).gather(1, at)
        last, time = values.gather(1, at), when.gather(1, at)
        second = earlier.gather(1, at)
        k = len(scales)
        # weights are read where the channel was last seen: one of them is 1, so they are never too small to divide by
        wide = sums.view(b, n, c, 5, k).gather(1, at[..., None, None].expand(-1, -1, -1, 5, k))
        weight, value, moment, n_changes, squares = wide.unbind(dim=3)
        is_seen = count[..., None] > 0
        safe = torch.where(is_seen, weight, 1.0)
        return cls(
            count=count,
            last=last,
            before=torch.where(second > 0, values.gather(1, second), last),
            time=time + first[..., None],
            level=total / count.clamp(min=1),
            averages=value / safe,
            ages=torch.where(is_seen, time[..., None] - moment / safe, 0.0).clamp(min=0.0),
            changes=torch.where(n_changes > 0, squares / n_changes.where(n_changes > 0, 1.0), 0.0),
        )


def decayed_sums(gaps: Tensor, parts: Tensor, scales: Tensor) -> Tensor:
    """Sums of what came up to each event, each part worth ``exp(-age / scale)`` by then.

    Parameters
    ----------
    gaps : Tensor[b n]
        Time before each event since the one before it.
    parts : Tensor[b n q]
        What each event adds.
    scales : Tensor[k]

    Returns
    -------
    Tensor[b n q k]
    """
    decay = torch.exp(-gaps[..., None, None] / scales)
    sums = parts[..., None].expand(*parts.shape, len(scales)).contiguous()
    step = 1  # all at once: ranges of 1, 2, 4, ... events are joined
    while step < sums.shape[1]:
        joined = sums[:, step:] + decay[:, step:] * sums[:, :-step]
        sums = torch.cat([sums[:, :step], joined], dim=1)
        decay = torch.cat([decay[:, :step], decay[:, step:] * decay[:, :-step]], dim=1)
        step *= 2
    return sums

"""Answers from parts of a history: each distinct range of events becomes a series of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch

__all__ = ["Ranges", "cut"]


@dataclass(frozen=True)
class Ranges:
    """Ranges of events from which queries (b m) are answered, each once, however many queries share it.

    Parameters
    ----------
    pieces : IrregularBatch
        The ranges, one a row; p of them.
    source : Tensor[p]
        Row of the batch a range was cut from.
    which, place : Tensor[b m]
        The range of a query, and the query's place among those of its range.
    width : int
        Most queries that share a range.
    """

    pieces: IrregularBatch
    source: Tensor
    which: Tensor
    place: Tensor
    width: int

    @classmethod
    def of(cls, batch: IrregularBatch, first: Tensor, until: Tensor) -> Ranges:
        """Ranges of the events ``first .. until - 1`` (b m) of each row."""
        (b, m), n = until.shape, batch.n_events
        row = torch.arange(b, device=until.device)[:, None].expand(b, m)
        key = ((row * (n + 1) + first) * (n + 1) + until).reshape(-1)
        _, which, counts = key.unique(return_inverse=True, return_counts=True)
        order = which.argsort(stable=True)
        leader = order[counts.cumsum(0) - counts]  # one query of each range
        place = torch.empty_like(which)
        place[order] = torch.arange(b * m, device=which.device) - (counts.cumsum(0) - counts)[which[order]]
        source = row.reshape(-1)[leader]
        pieces = cut(batch.select(source), first.reshape(-1)[leader], until.reshape(-1)[leader])
        width = int(counts.max()) if len(counts) else 0
        return cls(pieces, source, which.view(b, m), place.view(b, m), width)

    def gather(self, query_times: Tensor, rest: Tensor) -> Tensor:
        """The queries (b m) of each range, filled up with the times ``rest`` (p,): Tensor[p w]."""
        times = rest[:, None].repeat(1, self.width)
        times[self.which, self.place] = query_times
        return times

    def worst(self, status: Tensor, n_series: int) -> Tensor:
        """Worst status of the ranges of each row: (p,) -> (b,)."""
        return status.new_zeros(n_series).scatter_reduce(0, self.source, status, "amax")


def cut(batch: IrregularBatch, first: Tensor, until: Tensor) -> IrregularBatch:
    """Events ``first .. until - 1`` of each row."""
    lengths = until - first
    width = int(lengths.max()) if len(lengths) else 0
    if width == batch.n_events and not bool(first.any()) and torch.equal(lengths, batch.lengths):
        return batch
    place = torch.arange(width, device=first.device).expand(len(first), -1)
    is_event = place < lengths[:, None]
    pick = (first[:, None] + torch.minimum(place, (lengths - 1).clamp(min=0)[:, None])).clamp(max=batch.n_events - 1)
    spread = pick[..., None].expand(-1, -1, batch.n_channels)
    mask = batch.mask.gather(1, spread) & is_event[..., None]
    return IrregularBatch(batch.times.gather(1, pick), batch.values.gather(1, spread), mask, lengths, batch.static)

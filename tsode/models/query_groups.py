"""Queries that share what they are answered from: a start, or a range of events that becomes a series of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch

__all__ = ["HistoryRanges", "QueryGroups", "cut"]


@dataclass(frozen=True)
class QueryGroups:
    """Queries (q,) sorted out by what they share; p things are shared.

    Parameters
    ----------
    leader : Tensor[p]
        One of the queries that share a thing.
    which, place : Tensor[q]
        The thing of a query, and the query's place among those that share it.
    width : int
        Most queries that share a thing.
    """

    leader: Tensor
    which: Tensor
    place: Tensor
    width: int

    @classmethod
    def of(cls, key: Tensor) -> QueryGroups:
        """Queries share what has the same key (q,)."""
        _, which, counts = key.unique(return_inverse=True, return_counts=True)
        order = which.argsort(stable=True)
        first = counts.cumsum(0) - counts
        place = torch.empty_like(which)
        place[order] = torch.arange(len(key), device=key.device) - first[which[order]]
        return cls(order[first], which, place, int(counts.max()) if len(counts) else 0)

    def gather(self, query_times: Tensor, rest: Tensor) -> Tensor:
        """The times (q,) of each thing's queries, filled up with ``rest`` (p,): Tensor[p w]."""
        times = rest[:, None].repeat(1, self.width)
        times[self.which, self.place] = query_times
        return times


@dataclass(frozen=True)
class HistoryRanges:
    """Ranges of events from which queries (b m) are answered, each once, however many queries share it.

    Parameters
    ----------
    pieces : IrregularBatch
        The ranges, one a row; p of them.
    source : Tensor[p]
        Row of the batch a range was cut from.
    shared : Shared
        Which query is of which range, over the flattened queries.
    n_series, n_queries : int
        b and m.
    """

    pieces: IrregularBatch
    source: Tensor
    shared: QueryGroups
    n_series: int
    n_queries: int

    @classmethod
    def of(cls, batch: IrregularBatch, first: Tensor, until: Tensor) -> HistoryRanges:
        """Ranges of the events ``first .. until - 1`` (b m) of each row."""
        (b, m), n = until.shape, batch.n_events
        row = torch.arange(b, device=until.device)[:, None].expand(b, m)
        key = ((row * (n + 1) + first) * (n + 1) + until).reshape(-1)
        shared = QueryGroups.of(key)
        source = row.reshape(-1)[shared.leader]
        pieces = cut(batch.select(source), first.reshape(-1)[shared.leader], until.reshape(-1)[shared.leader])
        return cls(pieces, source, shared, b, m)

    @property
    def which(self) -> Tensor:
        """The range of each query: Tensor[b m]."""
        return self.shared.which.view(self.n_series, self.n_queries)

    @property
    def place(self) -> Tensor:
        """The place of each query among those of its range: Tensor[b m]."""
        return self.shared.place.view(self.n_series, self.n_queries)

    def gather(self, query_times: Tensor, rest: Tensor) -> Tensor:
        """The queries (b m) of each range, filled up with the times ``rest`` (p,): Tensor[p w]."""
        return self.shared.gather(query_times.reshape(-1), rest)

    def worst(self, status: Tensor) -> Tensor:
        """Worst status of the ranges of each row: (p,) -> (b,)."""
        return status.new_zeros(self.n_series).scatter_reduce(0, self.source, status, "amax")


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
    inputs = batch.inputs
    if inputs is not None:
        inputs = inputs.gather(1, pick[..., None].expand(-1, -1, inputs.shape[2])) * is_event[..., None]
    values = batch.values.gather(1, spread)
    return IrregularBatch(batch.times.gather(1, pick), values, mask, lengths, inputs, batch.covariates)

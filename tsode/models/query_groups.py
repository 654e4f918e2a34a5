"""Query groups: queries with the same history are answered together, so that each history is encoded once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch

__all__ = ["HistoryRanges", "QueryGroups", "cut"]


@dataclass(frozen=True)
class QueryGroups:
    """Queries (q,) in p groups, those with the same key together.

    Parameters
    ----------
    first_member : Tensor[p]
        First query of each group.
    group, position : Tensor[q]
        Group of each query, and its position there.
    width : int
        Size of the largest group.
    """

    first_member: Tensor
    group: Tensor
    position: Tensor
    width: int

    @classmethod
    def of(cls, key: Tensor) -> QueryGroups:
        """Groups of queries with these keys (q,)."""
        _, group, counts = key.unique(return_inverse=True, return_counts=True)
        order = group.argsort(stable=True)
        first = counts.cumsum(0) - counts
        position = torch.empty_like(group)
        position[order] = torch.arange(len(key), device=key.device) - first[group[order]]
        return cls(order[first], group, position, int(counts.max()) if len(counts) else 0)

    def gather(self, query_times: Tensor, rest: Tensor) -> Tensor:
        """The times (q,) of each group's queries, filled up with ``rest`` (p,): Tensor[p w]."""
        times = rest[:, None].repeat(1, self.width)
        times[self.group, self.position] = query_times
        return times


@dataclass(frozen=True)
class HistoryRanges:
    """Histories of queries (b m) as ranges of events, each a series of its own, however many queries share it.

    Parameters
    ----------
    histories : IrregularBatch
        The events of each range, one a row; p of them.
    row : Tensor[p]
        Row of the batch a range was cut from.
    groups : QueryGroups
        Those of the flattened queries, one a range.
    n_series, n_queries : int
        b and m.
    """

    histories: IrregularBatch
    row: Tensor
    groups: QueryGroups
    n_series: int
    n_queries: int

    @classmethod
    def of(cls, batch: IrregularBatch, first: Tensor, until: Tensor) -> HistoryRanges:
        """Ranges of the events ``first .. until - 1`` (b m) of each row."""
        (b, m), n = until.shape, batch.n_events
        row = torch.arange(b, device=until.device)[:, None].expand(b, m)
        key = ((row * (n + 1) + first) * (n + 1) + until).reshape(-1)
        groups = QueryGroups.of(key)
        row, first, until = (part.reshape(-1)[groups.first_member] for part in (row, first, until))
        return cls(cut(batch.select(row), first, until), row, groups, b, m)

    @property
    def group(self) -> Tensor:
        """The range of each query: Tensor[b m]."""
        return self.groups.group.view(self.n_series, self.n_queries)

    @property
    def position(self) -> Tensor:
        """The position of each query among those of its range: Tensor[b m]."""
        return self.groups.position.view(self.n_series, self.n_queries)

    def gather(self, query_times: Tensor, rest: Tensor) -> Tensor:
        """The queries (b m) of each range, filled up with the times ``rest`` (p,): Tensor[p w]."""
        return self.groups.gather(query_times.reshape(-1), rest)

    def worst(self, status: Tensor) -> Tensor:
        """Worst status of the ranges of each row: (p,) -> (b,)."""
        return status.new_zeros(self.n_series).scatter_reduce(0, self.row, status, "amax")


def cut(batch: IrregularBatch, first: Tensor, until: Tensor) -> IrregularBatch:
    """Events ``first .. until - 1`` of each row."""
    lengths = until - first
    width = int(lengths.max()) if len(lengths) else 0
    if width == batch.n_events and not bool(first.any()) and torch.equal(lengths, batch.lengths):
        return batch
    step = torch.arange(width, device=first.device).expand(len(first), -1)
    is_event = step < lengths[:, None]
    pick = (first[:, None] + torch.minimum(step, (lengths - 1).clamp(min=0)[:, None])).clamp(max=batch.n_events - 1)
    spread = pick[..., None].expand(-1, -1, batch.n_channels)
    mask = batch.mask.gather(1, spread) & is_event[..., None]
    inputs = batch.inputs
    if inputs is not None:
        inputs = inputs.gather(1, pick[..., None].expand(-1, -1, inputs.shape[2])) * is_event[..., None]
    values = batch.values.gather(1, spread)
    return IrregularBatch(batch.times.gather(1, pick), values, mask, lengths, inputs, batch.covariates)

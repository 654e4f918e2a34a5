"""Events of a padded batch without their padding: event by event, the longest rows first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from tsode.core.path import ListedEvents, Path

__all__ = ["Ragged", "RaggedPath"]


@dataclass(frozen=True)
class Ragged:
    """Where each event of a padded batch (b n) stands in a list of all events (q) without padding.

    The rows are sorted by length, longest first, and listed event by event: at every event the rows that still have
    one are the first ``sizes[k]``, so a loop over events works on the top of its buffers.

    Parameters
    ----------
    sizes : list of int
        Rows that have a first, second, ... event; none is 0.
    order : Tensor[b]
        Rows of the batch, longest first.
    events : Tensor[q]
        Index of each listed event in the flattened batch (b n).
    last : Tensor[b']
        Index in the list of the last event of each sorted row that has events.
    place : Tensor[b n]
        Index in the list of each event of the batch; padding has that of the event it repeats, and a row without
        events -1.
    """

    sizes: list[int]
    order: Tensor
    events: Tensor
    last: Tensor
    place: Tensor

    @classmethod
    def of(cls, lengths: Tensor, width: int) -> Ragged:
        """The events of rows of these `lengths` in a batch of this `width`."""
        ordered, order = lengths.clamp(max=width).sort(descending=True, stable=True)
        step = torch.arange(width, device=lengths.device)[:, None]
        is_event = step < ordered
        counts = is_event.sum(dim=1)
        first = counts.cumsum(dim=0) - counts
        latest = torch.minimum(step, ordered - 1)
        row = torch.arange(len(lengths), device=lengths.device)
        place = (first[latest] + row).where(latest >= 0, -1) if width else latest
        return cls(
            sizes=[size for size in counts.tolist() if size],
            order=order,
            events=(order * width + step)[is_event],
            last=place[-1][ordered > 0] if width else order[:0],
            place=place.new_empty(place.shape).index_copy_(1, order, place).t(),
        )


@dataclass(frozen=True)
class RaggedPath(Path):
    """Path of a fused pass: states without padding, put together as `z_minus` and `z_plus` when they are read.

    Parameters
    ----------
    times : Tensor[b n], float64
    status : Tensor[b], int64
    start : Tensor[d] or Tensor[b d]
        With starts of their own, rows without events still share one.
    ragged : Ragged
    minus, plus : Tensor[q d]
        Left and right limits at the listed events.
    end : Tensor[b' d]
        States after the last event of the sorted rows that have events.
    predicted : Tensor[q c]
        Locations predicted for each event.
    """

    times: Tensor
    status: Tensor
    start: Tensor
    ragged: Ragged
    minus: Tensor
    plus: Tensor
    end: Tensor
    predicted: Tensor

    @cached_property
    def z_start(self) -> Tensor:
        start = self.start if self.minus.requires_grad else self.start.detach()
        return start.expand(len(self.times), start.shape[-1])

    @property
    def _shortest(self) -> Tensor:
        """Start of the shortest row: of those without events, where there are any."""
        return self.z_start[self.ragged.order[-1:]]

    @property
    def z_minus(self) -> Tensor:
        is_padding = self.ragged.place.diff(dim=1, prepend=self.ragged.place[:, :1] - 1) == 0
        place = self.ragged.place + 1
        place = torch.where(is_padding & (place > 0), place + len(self.minus), place)
        return torch.cat([self._shortest, self.minus, self.plus])[place]

    @property
    def z_plus(self) -> Tensor:
        return torch.cat([self._shortest, self.plus])[self.ragged.place + 1]

    @property
    def z_end(self) -> Tensor:
        order = self.ragged.order
        return torch.cat([self.end, self.z_start[order[len(self.end) :]]]).index_select(0, order.argsort())

    def list_events(self, is_event: Tensor) -> ListedEvents:
        return ListedEvents(self.ragged.events, self.minus, self.predicted)

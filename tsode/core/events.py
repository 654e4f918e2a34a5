"""Event streams in a padded batch: times and marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn

from tsode._checks import check_shapes

__all__ = ["StreamBatch"]


@dataclass(frozen=True)
class StreamBatch:
    """Marked events of several streams side by side; padding stands at the end of a row.

    Padding repeats the row's last time (its start, where there is no event), so that a padded gap has length zero.

    Parameters
    ----------
    times : Tensor[b n], float64, in the batch's time unit
        Event times, non-decreasing along a row.
    marks : Tensor[b n], int64
        Kind of each event, ``0 .. n_marks - 1``; 0 in the padding.
    lengths : Tensor[b], int64
        Number of events of each row before its padding.
    start, end : Tensor[b], float64
        Window in which the stream was watched; it holds all events of its row.
    """

    times: Tensor
    marks: Tensor
    lengths: Tensor
    start: Tensor
    end: Tensor

    def __post_init__(self) -> None:
        check_shapes(
            times=(self.times, "b n"), marks=(self.marks, "b n"), lengths=(self.lengths, "b"),
            start=(self.start, "b"), end=(self.end, "b"),
        )  # fmt: skip

    @classmethod
    def from_arrays(
        cls,
        times: Sequence[np.ndarray],
        marks: Sequence[np.ndarray],
        start: Sequence[float] | np.ndarray,
        end: Sequence[float] | np.ndarray,
    ) -> StreamBatch:
        """Pad streams of different lengths into one batch: one array of sorted times and one of marks a stream."""
        lengths = np.array([len(t) for t in times], dtype=np.int64)
        width = int(lengths.max(initial=0))
        first, last = np.array(start, dtype=np.float64), np.array(end, dtype=np.float64)
        padded_times = np.repeat(first[:, None], width, axis=1)
        padded_marks = np.zeros((len(lengths), width), dtype=np.int64)
        for row, (t, m) in enumerate(zip(times, marks)):
            padded_times[row, : len(t)] = t
            padded_times[row, len(t) :] = t[-1] if len(t) else first[row]
            padded_marks[row, : len(t)] = m
        return cls(*(torch.from_numpy(part) for part in (padded_times, padded_marks, lengths, first, last)))

    @property
    def n_streams(self) -> int:
        return self.times.shape[0]

    @property
    def n_events(self) -> int:
        """Width of the batch: events of the longest row."""
        return self.times.shape[1]

    @property
    def is_event(self) -> Tensor:
        """Tensor[b n], bool: True before the padding."""
        return torch.arange(self.n_events, device=self.times.device) < self.lengths[:, None]

    @property
    def last(self) -> Tensor:
        """Tensor[b]: time of the last event, or the start where there is none."""
        return self.times[:, -1] if self.n_events else self.start

    @property
    def gaps(self) -> Tensor:
        """Tensor[b n+1], float64: from the start to the first event, between events, from the last one to the end.

        The last column is always the gap before the end; padded gaps before it are zero.
        """
        return torch.cat([self.start[:, None], self.times, self.end[:, None]], dim=1).diff(dim=1)

    @property
    def is_gap(self) -> Tensor:
        """Tensor[b n+1], bool: the `gaps` before events and the one before the end, not those of the padding."""
        return nn.functional.pad(self.is_event, (0, 1), value=True)

    @property
    def is_first(self) -> Tensor:
        """Tensor[b n], bool: the first of the events of each time; events of one time are simultaneous."""
        is_first = self.times.diff(dim=1, prepend=self.start[:, None]) > 0.0
        is_first[:, :1] = True
        return is_first

    @property
    def n_earlier(self) -> Tensor:
        """Tensor[b n+1], int64: number of events strictly earlier than each event, and that of all events at the end.

        The index of the state that each of the `gaps` starts from; what events of one time share.
        """
        steps = torch.arange(self.n_events, device=self.times.device)
        return torch.cat([torch.where(self.is_first, steps, 0).cummax(dim=1).values, self.lengths[:, None]], dim=1)

    def to(self, device: torch.device | str) -> StreamBatch:
        """Move all tensors to `device`."""
        return StreamBatch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def select(self, rows: Tensor) -> StreamBatch:
        """The streams at `rows` (indices), in that order, without columns that are all padding."""
        width = int(self.lengths[rows].max()) if len(rows) else 0
        return StreamBatch(
            self.times[rows, :width], self.marks[rows, :width], self.lengths[rows], self.start[rows], self.end[rows]
        )

    def one_hot(self, n_marks: int, dtype: torch.dtype) -> Tensor:
        """Tensor[b n k]: 1 at the mark of each event, 0 elsewhere and in the padding."""
        return nn.functional.one_hot(self.marks, n_marks).to(dtype) * self.is_event[..., None]

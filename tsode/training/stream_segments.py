"""Segments of event streams to train on: which events are given, and which are scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsode.core.events import StreamBatch
from tsode.intensities.base import Intensity

__all__ = ["Segment", "SegmentBatch", "SegmentSampler", "batched", "cut_segments", "event_nll", "hold_out", "mean_nll"]

FEWEST_STREAMS = 10  # with fewer, the last part of each is held out
FEWEST_STEPS = 20  # of the optimizer in what is called an epoch


@dataclass(frozen=True, eq=False)
class Segment:
    """One stream, or a stretch of one, in model time.

    Parameters
    ----------
    times : array[n], float64
    marks : array[n], int64
    start, end : float
    n_given : int
        First events that are history only.
    """

    times: np.ndarray
    marks: np.ndarray
    start: float
    end: float
    n_given: int

    @property
    def n_scored(self) -> int:
        return max(len(self.times) - self.n_given, 0)


@dataclass(frozen=True)
class SegmentBatch:
    """Events of several segments, and the number of first ones of each that are given (b,)."""

    events: StreamBatch
    n_given: Tensor

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> SegmentBatch:
        events = StreamBatch.from_arrays(
            [p.times for p in segments],
            [p.marks for p in segments],
            [p.start for p in segments],
            [p.end for p in segments],
        )
        return cls(events, torch.tensor([p.n_given for p in segments]))

    def to(self, device: torch.device) -> SegmentBatch:
        return SegmentBatch(self.events.to(device), self.n_given.to(device))

    def select(self, rows: Tensor) -> SegmentBatch:
        return SegmentBatch(self.events.select(rows), self.n_given[rows])


def cut_segments(segment: Segment, longest: int) -> list[Segment]:
    """Cut a stream of more than `longest` scored events; each part has about half as many before it as history.

    A history begins with all events of its first time.
    """
    n = len(segment.times)
    if segment.n_scored <= longest:
        return [segment]
    segments = []
    for low in range(segment.n_given, n, longest):
        first, high = max(low - longest // 2, 0), min(low + longest, n)
        first = int(np.searchsorted(segment.times, segment.times[first]))
        is_first, is_last = low == segment.n_given, high == n
        start = segment.start if first == 0 else float(segment.times[first])
        # the first part scores from the start of the window, the last up to its end
        end = segment.end if is_last else float(segment.times[high - 1])
        n_given = segment.n_given - first if is_first else low - first
        segments.append(Segment(segment.times[first:high], segment.marks[first:high], start, end, n_given))
    return segments


def hold_out(
    streams: Sequence[Segment], fraction: float, generator: torch.Generator
) -> tuple[list[Segment], list[Segment]]:
    """Split into training and validation: a share of the streams, or where there are few, the last part of each."""
    usable = [segment for segment in streams if segment.n_scored or segment.n_given == 0]
    if len(usable) >= FEWEST_STREAMS:
        n_valid = max(1, round(fraction * len(usable)))
        order = torch.randperm(len(usable), generator=generator).tolist()
        return [usable[i] for i in sorted(order[n_valid:])], [usable[i] for i in sorted(order[:n_valid])]
    train, valid = [], []
    for segment in usable:
        kept = len(segment.times) - max(1, round(fraction * segment.n_scored))
        if kept > 0:  # what happens at one time stays together
            kept = int(np.searchsorted(segment.times, segment.times[kept]))
        if kept <= segment.n_given:  # too short to share
            train.append(segment)
            continue
        head = slice(0, kept)
        train.append(
            Segment(
                segment.times[head], segment.marks[head], segment.start, float(segment.times[kept - 1]), segment.n_given
            )
        )
        valid.append(Segment(segment.times, segment.marks, segment.start, segment.end, kept))
    return train, valid or train


def batched(segments: Sequence[Segment], size: int) -> list[SegmentBatch]:
    """All segments in batches of like length."""
    order = sorted(range(len(segments)), key=lambda i: len(segments[i].times))
    return [SegmentBatch.of([segments[i] for i in order[k : k + size]]) for k in range(0, len(order), size)]


class SegmentSampler:
    """Random batches of the segments of one epoch, which passes as often over few data as `FEWEST_STEPS` asks."""

    def __init__(self, segments: Sequence[Segment], batch_size: int) -> None:
        self.all = SegmentBatch.of(segments)
        self.batch_size = batch_size
        self.per_pass = -(-len(segments) // batch_size)
        self.n_passes = -(-FEWEST_STEPS // self.per_pass)
        self.n_batches = self.per_pass * self.n_passes

    def epoch(self, generator: torch.Generator) -> Iterator[SegmentBatch]:
        for _ in range(self.n_passes):
            order = torch.randperm(len(self.all.n_given), generator=generator)
            for k in range(0, len(order), self.batch_size):
                yield self.all.select(order[k : k + self.batch_size])


def event_nll(intensity: Intensity, batch: SegmentBatch, until: str) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood, and number of scored events, of each segment (b,)."""
    trace = intensity.trace(batch.events)
    return -trace.log_likelihood(batch.n_given, until), trace.is_scored(batch.n_given).sum(dim=1)


def mean_nll(intensity: Intensity, batches: Sequence[SegmentBatch], until: str) -> float:
    """Negative log-likelihood per scored event over all batches."""
    sums = [[float(part.sum()) for part in event_nll(intensity, batch, until)] for batch in batches]
    return sum(nll for nll, _ in sums) / max(sum(n for _, n in sums), 1.0)

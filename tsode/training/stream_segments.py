"""Pieces of event streams to learn from: which events are given, and which are scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsode.core.events import StreamBatch
from tsode.intensities.base import Intensity

__all__ = ["PieceBatch", "Segment", "SegmentSampler", "batched", "cut_pieces", "event_nll", "hold_out", "mean_nll"]

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
class PieceBatch:
    """Events of several pieces, and how many first ones of each are given (b,)."""

    events: StreamBatch
    n_given: Tensor

    @classmethod
    def of(cls, pieces: Sequence[Segment]) -> PieceBatch:
        events = StreamBatch.from_arrays(
            [p.times for p in pieces], [p.marks for p in pieces], [p.start for p in pieces], [p.end for p in pieces]
        )
        return cls(events, torch.tensor([p.n_given for p in pieces]))

    def to(self, device: torch.device) -> PieceBatch:
        return PieceBatch(self.events.to(device), self.n_given.to(device))

    def select(self, rows: Tensor) -> PieceBatch:
        return PieceBatch(self.events.select(rows), self.n_given[rows])


def cut_pieces(piece: Segment, longest: int) -> list[Segment]:
    """Cut a stream of more than `longest` scored events; each part has up to half as many before it as history."""
    n = len(piece.times)
    if piece.n_scored <= longest:
        return [piece]
    pieces = []
    for low in range(piece.n_given, n, longest):
        first, high = max(low - longest // 2, 0), min(low + longest, n)
        is_first, is_last = low == piece.n_given, high == n
        start = piece.start if first == 0 else float(piece.times[first])
        # the first part scores from the start of the window, the last up to its end
        end = piece.end if is_last else float(piece.times[high - 1])
        n_given = piece.n_given - first if is_first else low - first
        pieces.append(Segment(piece.times[first:high], piece.marks[first:high], start, end, n_given))
    return pieces


def hold_out(
    streams: Sequence[Segment], fraction: float, generator: torch.Generator
) -> tuple[list[Segment], list[Segment]]:
    """Split into training and validation: a share of the streams, or where there are few, the last part of each."""
    usable = [piece for piece in streams if piece.n_scored or piece.n_given == 0]
    if len(usable) >= FEWEST_STREAMS:
        n_valid = max(1, round(fraction * len(usable)))
        order = torch.randperm(len(usable), generator=generator).tolist()
        return [usable[i] for i in sorted(order[n_valid:])], [usable[i] for i in sorted(order[:n_valid])]
    train, valid = [], []
    for piece in usable:
        kept = len(piece.times) - max(1, round(fraction * piece.n_scored))
        if kept <= piece.n_given:  # too short to share
            train.append(piece)
            continue
        head = slice(0, kept)
        train.append(
            Segment(piece.times[head], piece.marks[head], piece.start, float(piece.times[kept - 1]), piece.n_given)
        )
        valid.append(Segment(piece.times, piece.marks, piece.start, piece.end, kept))
    return train, valid or train


def batched(pieces: Sequence[Segment], size: int) -> list[PieceBatch]:
    """All pieces in batches of like length."""
    order = sorted(range(len(pieces)), key=lambda i: len(pieces[i].times))
    return [PieceBatch.of([pieces[i] for i in order[k : k + size]]) for k in range(0, len(order), size)]


class SegmentSampler:
    """Random batches of the pieces of one epoch, which passes as often over few data as `FEWEST_STEPS` asks."""

    def __init__(self, pieces: Sequence[Segment], batch_size: int) -> None:
        self.all = PieceBatch.of(pieces)
        self.batch_size = batch_size
        self.per_pass = -(-len(pieces) // batch_size)
        self.n_passes = -(-FEWEST_STEPS // self.per_pass)
        self.n_batches = self.per_pass * self.n_passes

    def epoch(self, generator: torch.Generator) -> Iterator[PieceBatch]:
        for _ in range(self.n_passes):
            order = torch.randperm(len(self.all.n_given), generator=generator)
            for k in range(0, len(order), self.batch_size):
                yield self.all.select(order[k : k + self.batch_size])


def event_nll(intensity: Intensity, batch: PieceBatch, until: str) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood, and number of scored events, of each piece (b,)."""
    trace = intensity.trace(batch.events)
    return -trace.log_likelihood(batch.n_given, until), trace.is_scored(batch.n_given).sum(dim=1)


def mean_nll(intensity: Intensity, batches: Sequence[PieceBatch], until: str) -> float:
    """Negative log-likelihood per scored event over all batches."""
    sums = [[float(part.sum()) for part in event_nll(intensity, batch, until)] for batch in batches]
    return sum(nll for nll, _ in sums) / max(sum(n for _, n in sums), 1.0)

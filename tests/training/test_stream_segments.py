"""Pieces of event streams to learn from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.registries import small_intensity
from tsode.training.stream_segments import (
    Segment,
    SegmentBatch,
    SegmentSampler,
    batched,
    cut_segments,
    event_nll,
    hold_out,
    mean_nll,
)


def stream(n: int, n_given: int = 0, seed: int = 0) -> Segment:
    rng = np.random.default_rng(seed)
    times = rng.exponential(1.0, n).cumsum()
    return Segment(times, rng.integers(0, 2, n), 0.0, float(times[-1]) + 0.7, n_given)


@pytest.mark.parametrize("n_given", [0, 1])
def test_the_parts_of_a_memoryless_stream_have_its_likelihood(n_given):
    whole = stream(23, n_given)
    poisson = small_intensity("poisson", 2).double()
    nll, n_scored = event_nll(poisson, SegmentBatch.of([whole]), "window")
    parts, counts = event_nll(poisson, SegmentBatch.of(cut_segments(whole, 5)), "window")
    assert len(counts) == 5
    torch.testing.assert_close(parts.sum(), nll[0])
    assert counts.sum() == n_scored[0]


def test_every_event_is_scored_once_and_has_history_before_it():
    parts = cut_segments(stream(40, 1), 10)
    scored = np.concatenate([part.times[part.n_given :] for part in parts])
    np.testing.assert_array_equal(scored, stream(40, 1).times[1:])
    assert [part.n_given for part in parts[1:]] == [5, 5, 5]


def test_a_share_of_many_streams_is_held_out_and_the_end_of_few():
    generator = torch.Generator().manual_seed(0)
    many = [stream(5, seed=k) for k in range(20)]
    train, valid = hold_out(many, 0.1, generator)
    assert (len(train), len(valid)) == (18, 2)
    assert not {id(segment) for segment in train} & {id(segment) for segment in valid}
    (head,), (tail,) = hold_out([stream(20, 1)], 0.2, generator)
    assert head.end == head.times[-1]
    assert len(head.times) == tail.n_given == 16
    assert len(tail.times) == 20


def test_the_mean_weighs_events_not_streams_nor_batches():
    segments = [stream(n, 1, seed=n) for n in (3, 9, 4, 20)]
    poisson = small_intensity("poisson", 2).double()
    with torch.no_grad():
        nll, n_scored = event_nll(poisson, SegmentBatch.of(segments), "last_event")
    expected = float(nll.sum() / n_scored.sum())
    for size in (1, 3, 10):
        with torch.no_grad():
            found = mean_nll(poisson, batched(segments, size), "last_event")
        assert found == pytest.approx(expected)


def test_few_pieces_are_passed_over_often_enough():
    segments = SegmentSampler([stream(5, seed=k) for k in range(6)], batch_size=3)
    drawn = list(segments.epoch(torch.Generator().manual_seed(0)))
    assert len(drawn) == segments.n_batches == 20
    assert all(len(batch.n_given) == 3 for batch in drawn)

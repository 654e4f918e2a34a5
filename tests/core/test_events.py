"""Event streams side by side."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsode.core.events import StreamBatch
from tsode.errors import ShapeError


def example() -> StreamBatch:
    times = [np.array([1.0, 2.5]), np.array([]), np.array([0.5, 0.5, 4.0])]
    marks = [np.array([1, 0]), np.array([], dtype=int), np.array([2, 2, 1])]
    return StreamBatch.from_arrays(times, marks, [0.0, 1.0, 0.5], [3.0, 6.0, 4.0])


def test_gaps_run_from_the_start_of_the_window_to_its_end_and_padding_has_none():
    batch = example()
    assert batch.gaps.tolist() == [[1.0, 1.5, 0.0, 0.5], [0.0, 0.0, 0.0, 5.0], [0.0, 0.0, 3.5, 0.0]]
    # the first two events of the last stream are of one time: neither is before the other
    assert batch.n_earlier.tolist() == [[0, 1, 1, 2], [0, 0, 0, 0], [0, 0, 2, 3]]
    assert batch.is_gap.sum(dim=1).tolist() == [3, 1, 4]
    assert batch.last.tolist() == [2.5, 1.0, 4.0]


def test_padding_has_no_mark():
    one_hot = example().one_hot(3, torch.float32)
    assert one_hot.sum(dim=(1, 2)).tolist() == [2.0, 0.0, 3.0]
    assert one_hot[2].argmax(dim=-1).tolist() == [2, 2, 1]


def test_a_selection_is_as_wide_as_it_needs_to_be():
    chosen = example().select(torch.tensor([1, 0]))
    assert chosen.n_events == 2
    assert chosen.lengths.tolist() == [0, 2]
    assert example().select(torch.tensor([1])).times.shape == (1, 0)


def test_fields_that_disagree_are_named():
    batch = example()
    with pytest.raises(ShapeError, match="`end` has 2 on axis 'b'"):
        StreamBatch(batch.times, batch.marks, batch.lengths, batch.start, batch.end[:2])

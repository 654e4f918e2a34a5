"""Events listed without padding."""

from __future__ import annotations

import torch

from tsode.core.path import PaddedPath
from tsode.core.ragged import Ragged, RaggedPath


def test_events_are_listed_event_by_event_and_the_longest_rows_first():
    ragged = Ragged.of(torch.tensor([1, 3, 0, 2]), width=4)
    assert ragged.sizes == [3, 2, 1]
    assert ragged.order.tolist() == [1, 3, 0, 2]
    assert ragged.events.tolist() == [4, 12, 0, 5, 13, 6]
    assert ragged.last.tolist() == [5, 4, 2]
    assert ragged.place.tolist() == [[2, 2, 2, 2], [0, 3, 5, 5], [-1, -1, -1, -1], [1, 4, 4, 4]]


def test_padding_holds_the_state_after_the_last_event_and_a_row_without_events_its_start():
    ragged = Ragged.of(torch.tensor([1, 2, 0]), width=3)
    minus = torch.tensor([[10.0], [20.0], [11.0]])
    plus, times = minus + 5.0, torch.zeros(3, 3, dtype=torch.float64)
    status = torch.zeros(3, dtype=torch.int64)
    path = RaggedPath(times, status, torch.tensor([1.0]), ragged, minus, plus, plus[ragged.last], minus)
    assert path.z_minus[..., 0].tolist() == [[20.0, 25.0, 25.0], [10.0, 11.0, 16.0], [1.0, 1.0, 1.0]]
    assert path.z_plus[..., 0].tolist() == [[25.0, 25.0, 25.0], [15.0, 16.0, 16.0], [1.0, 1.0, 1.0]]
    assert path.z_end[:, 0].tolist() == [25.0, 16.0, 1.0]


def test_either_path_lists_the_state_before_each_event():
    ragged, is_event = Ragged.of(torch.tensor([1, 2, 0]), width=3), torch.arange(3) < torch.tensor([[1], [2], [0]])
    minus, times = torch.tensor([[10.0], [20.0], [11.0]]), torch.zeros(3, 3, dtype=torch.float64)
    status = torch.zeros(3, dtype=torch.int64)
    path = RaggedPath(times, status, torch.tensor([1.0]), ragged, minus, minus, minus[ragged.last], minus)
    padded = PaddedPath(times, path.z_start, path.z_minus, path.z_plus, status)
    index, states, predicted = path.list_events(is_event)
    assert index.tolist() == ragged.events.tolist()
    assert states is minus is predicted
    index, states, predicted = padded.list_events(is_event)
    assert index.tolist() == [0, 3, 4]
    assert states.tolist() == [[20.0], [10.0], [11.0]]
    assert predicted is None


def test_no_rows_and_no_events_list_nothing():
    for lengths, width in ((torch.zeros(2, dtype=torch.int64), 0), (torch.zeros(0, dtype=torch.int64), 3)):
        ragged = Ragged.of(lengths, width)
        assert ragged.sizes == []
        assert ragged.events.shape == ragged.last.shape == (0,)
        assert ragged.place.shape == (len(lengths), width)

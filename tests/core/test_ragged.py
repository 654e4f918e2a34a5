"""Events listed without padding."""

from __future__ import annotations

import torch

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
    path = RaggedPath(times, torch.tensor([1.0]), ragged, minus, plus, plus[ragged.last], minus)
    assert path.z_minus[..., 0].tolist() == [[20.0, 25.0, 25.0], [10.0, 11.0, 16.0], [1.0, 1.0, 1.0]]
    assert path.z_plus[..., 0].tolist() == [[25.0, 25.0, 25.0], [15.0, 16.0, 16.0], [1.0, 1.0, 1.0]]
    assert path.z_end[:, 0].tolist() == [25.0, 16.0, 1.0]
    assert path.before(ragged.events).tolist() == minus.tolist()
    assert path.before(torch.tensor([3]))[:, 0].tolist() == [10.0]


def test_no_rows_and_no_events_list_nothing():
    for lengths, width in ((torch.zeros(2, dtype=torch.int64), 0), (torch.zeros(0, dtype=torch.int64), 3)):
        ragged = Ragged.of(lengths, width)
        assert ragged.sizes == []
        assert ragged.events.shape == ragged.last.shape == (0,)
        assert ragged.place.shape == (len(lengths), width)

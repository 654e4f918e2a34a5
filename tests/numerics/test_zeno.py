"""Events without end, told by their times."""

import pytest
import torch

from tsode.numerics.zeno import EventClock, accumulation_time


def ticks(times, t1):
    """Whether a clock says at some event that there is no end, and the time of accumulation it names."""
    clock = EventClock(torch.zeros(1, dtype=torch.float64), torch.tensor([t1], dtype=torch.float64), 1)
    for k, time in enumerate(times):
        is_endless, limit = clock.tick(torch.tensor([time], dtype=torch.float64), torch.ones(1, 1, dtype=torch.bool))
        if is_endless:
            return k, limit.item()
    return None


def test_a_geometric_series_of_events_is_extrapolated_exactly():
    for ratio in (0.8, 0.5):
        times = torch.tensor([[sum(ratio**j for j in range(k + 1)) for k in range(20)]], dtype=torch.float64)
        torch.testing.assert_close(accumulation_time(times[:, -7:]).item(), 1 / (1 - ratio))
    assert accumulation_time(torch.arange(7, dtype=torch.float64)) == torch.inf


def test_events_have_no_end_where_they_accumulate_however_many_came_before():
    equal = [float(k) for k in range(1, 1001)]
    shrinking = [1000.0 + sum(0.5**j for j in range(k + 1)) for k in range(40)]
    assert ticks(equal, 2000.0) is None
    found, limit = ticks(equal + shrinking, 2000.0)
    assert found > 1000
    assert limit == pytest.approx(1002.0, abs=1e-9)
    assert ticks(shrinking, 1001.5) is None  # ends before it


def test_events_that_come_too_fast_ever_to_reach_the_end_have_none():
    chatter = [1.0 + 1e-10 * k + 1e-11 * (k % 2) for k in range(500)]
    assert ticks(chatter, 2.0)[0] <= 200
    assert ticks(chatter, 1.0 + 1e-6) is None
    burst = [1.0 + 1e-4 * k for k in range(500)]
    assert ticks(burst, 2.0) is None

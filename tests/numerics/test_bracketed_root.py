import pytest
import torch

from tsode.numerics.bracketed_root import narrow_bracket
from tsode.numerics.zeno import EventClock, accumulation_time

TOL = 1e-10


def bracketed(function, low, high):
    """Root of a function that is positive at `low`, and the number of evaluations."""
    low, high = (torch.tensor([[bound]], dtype=torch.float64) for bound in (low, high))
    calls = []

    def counted(x):
        calls.append(x)
        return function(x)

    return narrow_bracket(counted, low, high, function(low), function(high), TOL).low.item(), len(calls)


def test_smooth_roots_are_found_in_a_dozen_evaluations_and_from_the_side_before():
    for function, root in (
        (lambda x: 0.25 - x**2, 0.5),
        (lambda x: torch.cos(3 * x), torch.pi / 6),
        (lambda x: 1e-9 * (0.1 - x), 0.1),
    ):
        found, n_calls = bracketed(function, 0.0, 1.0)
        assert -TOL <= found - root <= 1e-15
        assert n_calls <= 16


def test_a_rough_root_takes_at_most_two_evaluations_more_than_bisection():
    for function, root in ((lambda x: (0.3 - x) ** 9, 0.3), (lambda x: torch.where(x < 0.7, 1.0, -1e-12), 0.7)):
        found, n_calls = bracketed(function, 0.0, 1.0)
        assert abs(found - root) <= TOL or abs(function(torch.tensor(found).double())) < 1e-60
        assert n_calls <= 36  # bisection: log2(1e10) = 33.2


def test_a_function_that_is_negative_all_over_gives_the_lower_bound():
    assert bracketed(lambda x: -1.0 - x, 0.25, 0.5)[0] == 0.25


def test_elements_do_not_see_each_other():
    low, high = torch.zeros(1, 3, dtype=torch.float64), torch.ones(1, 3, dtype=torch.float64)
    roots = torch.tensor([[0.2, 0.5, 0.9]], dtype=torch.float64)

    def together(x):
        return roots**3 - x**3

    found = narrow_bracket(together, low, high, together(low), together(high), TOL).low
    for k in range(3):
        alone, _ = bracketed(lambda x, k=k: roots[:, k : k + 1] ** 3 - x**3, 0.0, 1.0)
        assert alone == found[0, k].item()


def test_what_is_zero_for_a_while_is_followed_to_where_it_becomes_negative():
    found, _ = bracketed(lambda x: torch.where(x < 0.3, 1.0, 0.0) - torch.relu(x - 0.6), 0.0, 1.0)
    assert -TOL <= found - 0.6 <= 1e-15


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

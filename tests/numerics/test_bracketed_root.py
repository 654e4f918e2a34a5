import torch

from tsode.numerics.bracketed_root import last_before_root
from tsode.numerics.zeno import accumulation_time, has_accumulated

TOL = 1e-10


def bracketed(function, low, high):
    """Root of a function that is positive at `low`, and the number of evaluations."""
    low, high = (torch.tensor([[bound]], dtype=torch.float64) for bound in (low, high))
    calls = []

    def counted(x):
        calls.append(x)
        return function(x)

    return last_before_root(counted, low, high, function(low), function(high), TOL).item(), len(calls)


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

    found = last_before_root(together, low, high, together(low), together(high), TOL)
    for k in range(3):
        alone, _ = bracketed(lambda x, k=k: roots[:, k : k + 1] ** 3 - x**3, 0.0, 1.0)
        assert alone == found[0, k].item()


def test_a_geometric_series_of_events_is_extrapolated_exactly():
    t0 = torch.zeros(3, dtype=torch.float64)
    ratio = torch.tensor([0.8, 0.5, 1.0], dtype=torch.float64)  # the last keeps its gaps
    times = [sum(ratio**j for j in range(k + 1)) for k in range(60)]
    assert accumulation_time(times[:6]).tolist() == [torch.inf] * 3
    torch.testing.assert_close(accumulation_time(times[:20])[:2], torch.tensor([5.0, 2.0], dtype=torch.float64))
    assert accumulation_time(times)[2] == torch.inf
    assert has_accumulated(times[:17], t0, t0 + 100).tolist() == [False, False, False]
    assert has_accumulated(times[:30], t0, t0 + 100).tolist() == [False, True, False]
    assert has_accumulated(times[:30], t0, t0 + 1.5).tolist() == [False, False, False]  # ends before it

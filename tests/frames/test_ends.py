"""Ends of scales: what many series reach and none passes is one; records, rounding and trends are not."""

from __future__ import annotations

import json

import numpy as np

from tsode.frames.ends import Ends, find_ends


def _panel(n: int, draw: object, length: int = 30, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [np.asarray(draw(generator, length), dtype=np.float64)[:, None] for _ in range(n)]


def _score(generator: np.random.Generator, n: int) -> np.ndarray:
    return np.clip(np.round(generator.normal(9.0, 4.0, n)), 3.0, 15.0)


def test_both_ends_of_a_score_are_found_exactly() -> None:
    ends = find_ends(_panel(40, _score))
    assert ends is not None
    assert (ends.low.tolist(), ends.high.tolist()) == ([3.0], [15.0])


def test_zero_is_an_end_of_counts_and_their_record_is_not() -> None:
    ends = find_ends(_panel(200, lambda generator, n: generator.poisson(3.0, n)))
    assert ends is not None
    assert (ends.low.tolist(), ends.high.tolist()) == ([0.0], [np.inf])


def test_continuous_values_have_none() -> None:
    assert find_ends(_panel(300, lambda generator, n: generator.normal(size=n))) is None


def test_rounded_values_of_a_tail_that_goes_on_have_none() -> None:
    found = [find_ends(_panel(500, lambda g, n: np.round(g.normal(37.0, 0.8, n), 1), seed=k)) for k in range(20)]
    assert sum(ends is not None for ends in found) <= 2  # a chance of 1 % of either end, of 20


def test_how_far_a_common_trend_has_come_is_no_end() -> None:
    assert find_ends(_panel(50, lambda _, n: np.arange(n) // 3)) is not None  # where all began, and rose from
    ends = find_ends(_panel(50, lambda generator, n: np.arange(n) // 3 + 100 * generator.integers(1, 900)))
    assert ends is None


def test_few_series_that_reach_it_or_few_series_at_all_make_no_end() -> None:
    tops = [np.array([0.1, 0.5, 1.0, 0.7])[:, None]] * 2
    others = _panel(30, lambda generator, n: generator.uniform(0.2, 0.9, n))
    assert find_ends([*tops, *others]) is None
    assert find_ends(_panel(9, _score)) is None


def test_values_not_seen_do_not_count() -> None:
    panel = [np.concatenate([x, np.full_like(x, np.nan)], axis=1) for x in _panel(40, _score)]
    ends = find_ends(panel)
    assert ends is not None
    assert (ends.low.tolist(), ends.high.tolist()) == ([3.0, -np.inf], [15.0, np.inf])


def test_a_value_that_a_channel_always_had_is_both_ends() -> None:
    ends = find_ends(_panel(12, lambda _, n: np.ones(n)))
    assert ends is not None
    assert (ends.low.tolist(), ends.high.tolist()) == ([1.0], [1.0])
    assert find_ends(_panel(12, lambda _, n: np.ones(n), length=1)) is None  # nothing was seen to stay


def test_a_latest_value_beyond_an_end_widens_it_and_what_rounding_makes_of_one_does_not() -> None:
    ends = Ends(np.array([0.0, -np.inf]), np.array([15.0, 1.0]), np.full(2, -np.inf), np.full(2, np.inf))
    low, high = ends.of(np.array([[16.0, 0.5], [15.0 + 1e-6, 2.0], [-1.0, np.nan]]), np.array([3.0, 1.0]))
    assert low.tolist() == [[0.0, -np.inf], [0.0, -np.inf], [-1.0, -np.inf]]
    assert high.tolist() == [[16.0, 1.0], [15.0, 2.0], [15.0, 1.0]]


def test_ends_come_back_from_their_text() -> None:
    ends = Ends(np.array([0.1, -np.inf]), np.array([np.inf, 15.0]), np.array([0.3, -np.inf]), np.full(2, np.inf))
    back = Ends.from_dict(json.loads(json.dumps(ends.to_dict(), allow_nan=False)))
    np.testing.assert_array_equal(np.stack(back), np.stack(ends))


def _walks(n: int, trend: float = 0.0, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Series that stay around levels of their own and rise together, over 10 units of time."""
    generator, times = np.random.default_rng(seed), np.linspace(0.0, 10.0, 40)
    values = [(generator.normal() + trend * times + 0.3 * generator.normal(size=40))[:, None] for _ in range(n)]
    return values, [times] * n


def test_records_of_very_many_series_hold_for_those_that_are_not_among_the_farthest() -> None:
    values, times = _walks(400)
    ends = find_ends(values, times, horizon=3.0)
    assert ends is not None
    pooled = np.concatenate(values)
    assert (ends.low[0], ends.high[0]) == (pooled.min(), pooled.max())
    early = np.sort([x[t <= 7.0].max() for x, t in zip(values, times)])
    assert ends.high_from[0] == early[-100]
    low, high = ends.of(np.array([[ends.high_from[0]], [ends.high_from[0] + 1e-6], [0.0], [np.nan]]), np.ones(1))
    assert high[:, 0].tolist() == [pooled.max(), np.inf, pooled.max(), pooled.max()]
    assert (low == pooled.min()).all()


def test_records_of_fewer_series_or_without_a_horizon_do_not_hold() -> None:
    assert find_ends(*_walks(99), horizon=3.0) is None
    assert find_ends(*_walks(400)) is None
    assert find_ends(*_walks(400), horizon=11.0) is None  # none was followed for as long


def test_a_record_that_holds_is_passed_by_one_more_series_with_the_chance_that_was_said() -> None:
    n_passed = n_held = 0
    for seed in range(40):
        ends = find_ends(*_walks(150, seed=seed), horizon=3.0)
        assert ends is not None
        others, times = _walks(200, seed=1_000 + seed)
        for x, t in zip(others, times):
            low, high = ends.of(x[t <= 7.0][-1], np.ones(1))
            n_held += int(np.isfinite(high[0])) + int(np.isfinite(low[0]))
            n_passed += int((x[t > 7.0] > high).any()) + int((x[t > 7.0] < low).any())
    assert n_held > 8_000  # or else there is nothing to test
    assert n_passed < n_held / 101.0


def test_where_a_common_trend_has_come_to_no_record_holds() -> None:
    values, times = _walks(400, trend=2.0)
    ends = find_ends(values, times, horizon=3.0)
    assert ends is not None
    latest = np.stack([x[-1] for x in values])
    _, high = ends.of(latest, np.ones(1))
    assert np.isinf(high).mean() > 0.99

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
    ends = Ends(np.array([0.0, -np.inf]), np.array([15.0, 1.0]))
    low, high = ends.widened(np.array([[16.0, 0.5], [15.0 + 1e-6, 2.0], [-1.0, np.nan]]), np.array([3.0, 1.0]))
    assert low.tolist() == [[0.0, -np.inf], [0.0, -np.inf], [-1.0, -np.inf]]
    assert high.tolist() == [[16.0, 1.0], [15.0, 2.0], [15.0, 1.0]]


def test_ends_come_back_from_their_text() -> None:
    ends = Ends(np.array([0.1, -np.inf]), np.array([np.inf, 15.0]))
    back = Ends.from_dict(json.loads(json.dumps(ends.to_dict(), allow_nan=False)))
    np.testing.assert_array_equal(np.stack(back), np.stack(ends))

"""Sums of times and spans against decimal arithmetic."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from tsode.core.time_sums import add_spans, divide
from tsode.errors import DataError


def test_sums_are_those_of_decimals_whatever_their_places_and_counts():
    rng = np.random.default_rng(0)
    places = rng.integers(0, 6, (2, 3000))
    times = np.array([round(x, int(p)) for x, p in zip(rng.uniform(-1e3, 1e3, 3000), places[0])])
    spans = np.array([round(x, int(p)) for x, p in zip(rng.uniform(1e-3, 50.0, 3000), places[1])])
    counts = rng.integers(-5, 10**6, 3000)
    truth = [float(Decimal(repr(float(t))) + int(k) * Decimal(repr(float(s)))) for t, s, k in zip(times, spans, counts)]
    assert (add_spans(times, spans, counts) == truth).all()
    assert (times + counts * spans != truth).sum() > 100


@pytest.mark.parametrize("whole", [3, 7, 49, 12])
def test_a_span_that_is_no_short_decimal_is_the_fraction_it_is_nearest_to(whole):
    assert add_spans(np.zeros(1), np.array([1 / whole]), whole).tolist() == [1.0]
    assert add_spans(np.array([1 / whole]), np.array([1 / whole]), whole - 1).tolist() == [1.0]
    assert add_spans(np.zeros(1), np.array([1 / whole]), 10**6 * whole).tolist() == [1e6]


def test_a_part_of_a_span_is_rounded_once():
    assert add_spans(np.zeros(3), np.array(2.4), np.arange(1, 4), 3).tolist() == [0.8, 1.6, 2.4]
    assert add_spans(np.array([0.1]), np.array(2.4), 1, 3).tolist() == [0.9]


def test_numbers_that_are_no_decimals_add_as_they_are():
    noise = np.array([0.1 + 0.2, np.pi, 3 / 4096, 1e300, 1.7e9 + 1e-6])
    assert (add_spans(noise, np.array(0.25)) == noise + 0.25).all()
    assert add_spans(np.zeros(1), np.array(3 / 4096), 3).tolist() == [9 / 4096]


def test_single_precision_gives_the_nearest_of_its_own():
    single = np.dtype(np.float32)
    times, spans = (np.array([x], np.float32).astype(np.float64) for x in (0.1, 2.4))
    for k in range(100):
        assert add_spans(times, spans, k, dtype=single)[0] == np.float32(0.1 + 2.4 * k)
    assert add_spans(np.zeros(1), spans, 3).tolist() == [7.2]  # among float64 times 2.4 is what was written


def test_an_element_does_not_depend_on_those_beside_it():
    rng = np.random.default_rng(1)
    times = np.r_[np.round(rng.uniform(0, 9, 20), 2), rng.uniform(0, 9, 20), 1 / 3, 1e15 + 0.5]
    spans = rng.permutation(np.r_[np.full(21, 0.1), np.full(21, 1 / 3)])
    counts = rng.integers(1, 50, 42)
    alone = [add_spans(t[None], s[None], k[None])[0] for t, s, k in zip(times, spans, counts)]
    assert (add_spans(times, spans, counts) == alone).all()


def test_integers_stay_integers_where_spans_are_whole():
    assert add_spans(np.array([4]), np.array([2.0]), 3).dtype == np.int64
    assert add_spans(np.array([4]), np.array([0.1]), 3).tolist() == [4.3]


def test_clock_times_are_counted_in_whole_ticks():
    last = np.array(["9999-01-01"], "M8[s]")  # in nanoseconds out of reach
    assert add_spans(last, np.array(86_400 * 10**9, "m8[ns]"), 3).tolist() == [last[0].item().replace(day=4)]
    fine = add_spans(np.array(["2024-01-01"], "M8[us]"), np.array(1, "m8[ns]"), 3)
    assert str(fine[0]) == "2024-01-01T00:00:00.000000003"
    assert add_spans(np.array([5], "m8[s]"), np.array(12, "m8[h]"), -1).tolist() == [
        np.timedelta64(5 - 43200, "s").item()
    ]
    with pytest.raises(DataError, match="too far away to count in 64 bits: repeat less often"):
        add_spans(np.array(["2024-01-01"], "M8[ns]"), np.array(1, "m8[D]"), 10**6)


def test_a_quotient_is_that_of_decimals():
    assert (divide(0.3, 0.1), divide(7.2, 2.4), divide(1.0, 3.0), divide(-4.2, -0.7)) == (3.0, 3.0, 1 / 3, 6.0)
    assert 0.3 / 0.1 != 3.0

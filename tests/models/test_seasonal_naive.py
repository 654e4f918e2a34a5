"""Seasonal naive model against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsode.core.batch import IrregularBatch
from tsode.core.series import Series
from tsode.models.seasonal_naive import SeasonalNaiveModel
from tsode.training.windows import make_window

NAN = np.nan
# a second series in the batch, which is longer, pads the first
LONG = np.arange(9.0), np.stack([np.full(9, 70.0), np.full(9, -70.0)], axis=1)


def naive(times, values, queries, period, side="left"):
    """Forecast means of one series (m c), with the means -7 and -8 of channels never seen, and the summary."""
    model = SeasonalNaiveModel(2)
    model.set_period(period)
    model.mean.copy_(torch.tensor([-7.0, -8.0]))
    batch = IrregularBatch.from_arrays([np.array(times), LONG[0]], [np.array(values), LONG[1]], torch.float64)
    asked = torch.tensor([queries, queries], dtype=torch.float64)
    return model.forecast(batch, asked, side).mean[0].tolist(), model.summarise(batch, asked, side)


def column(values):
    return [[value, NAN] for value in values]


def first(means):
    return [row[0] for row in means]


def test_values_one_period_ago_lie_on_the_line_between_their_neighbours():
    means, past = naive([0.0, 1.0, 3.0, 4.0], column([1.0, 5.0, 9.0, 0.0]), [4.5, 5.0, 6.0, 6.5, 8.0], 4.0)
    # sources 0.5, 1, 2, 2.5, 4
    assert first(means) == [3.0, 5.0, 7.0, 8.0, 0.0]
    assert past.back[0, :, 0].tolist() == [4.0] * 5


def test_it_goes_back_the_least_number_of_periods_that_leads_to_what_was_seen():
    means, past = naive([0.0, 1.0, 3.0, 4.0], column([1.0, 5.0, 9.0, 0.0]), [8.5, 12.0, 14.0, 400.5], 4.0)
    # sources 0.5 two periods ago, 4 two, 2 three, 0.5 a hundred
    assert first(means) == [3.0, 0.0, 7.0, 3.0]
    assert past.back[0, :, 0].tolist() == [8.0, 8.0, 12.0, 400.0]


def test_a_source_inside_a_gap_longer_than_a_period_lies_on_the_line_across_it():
    means, past = naive([0.0, 1.0, 6.0, 7.0], column([0.0, 10.0, 20.0, 0.0]), [2.5, 4.5, 7.5, 8.5], 2.0)
    # sources 0.5, 0.5 (inside the gap nothing later is known), 5.5, 6.5
    assert first(means) == [5.0, 5.0, 19.0, 10.0]
    assert past.back[0, :, 0].tolist() == [2.0, 4.0, 2.0, 2.0]


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_observation_at_the_source_counts_and_one_at_the_query_does_not(side):
    means, _ = naive([0.0, 2.0, 4.0], column([1.0, 3.0, 8.0]), [2.0, 4.0], 2.0, side)
    assert first(means) == [1.0, 3.0]


def test_before_the_first_value_it_is_the_first_and_the_overall_spread_is_that_of_a_short_past():
    means, past = naive([2.0, 3.0], column([4.0, 6.0]), [1.0, 2.0, 2.5, 3.5, 12.0, 13.0], 10.0)
    assert first(means) == [-7.0, -7.0, 4.0, 4.0, 4.0, 6.0]  # sources of those seen: -7.5, -6.5, 2, 3
    assert past.is_reached[0, :, 0].tolist() == [False, False, False, False, True, True]


def test_channels_are_read_at_their_own_times():
    times = [0.0, 1.0, 2.0, 3.0, 5.0]
    values = [[0.0, NAN], [NAN, 10.0], [4.0, NAN], [NAN, 30.0], [8.0, NAN]]
    means, past = naive(times, values, [0.5, 4.0, 5.5, 6.0], 3.0)
    # a: last seen 0, 2, 5, 5; sources -2.5, 1, 2.5, 3.  b: last seen never, 3, 3, 3; sources 1, 2.5, 3
    np.testing.assert_allclose(means, [[0.0, -8.0], [2.0, 10.0], [4.0 + 4.0 / 6.0, 25.0], [4.0 + 4.0 / 3.0, 30.0]])
    assert past.is_reached[0].tolist() == [[False, False], [True, True], [True, True], [True, True]]


def test_a_time_a_whole_number_of_periods_on_is_found_in_spite_of_rounding():
    times = np.arange(8) * 0.1
    values = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])
    queries = (np.arange(8, 24) * 0.1).tolist()
    means, past = naive(times, column(values), queries, 0.1 * 8)
    np.testing.assert_allclose(first(means), np.tile(values, 2), atol=1e-12)
    np.testing.assert_allclose(past.back[0, :, 0], np.repeat([0.8, 1.6], 8))


def test_later_values_change_nothing_however_large():
    times, values, queries = [0.0, 1.0, 3.0], [1.0, 5.0, -1.7e308], [2.0, 2.5, 3.0]
    after, _ = naive(times, column(values), queries, 1.0)
    alone, _ = naive(times[:2], column(values[:2]), queries, 1.0)
    assert first(after) == first(alone) == [5.0, 3.0, 5.0]


def test_forecasts_far_back_in_a_series_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0.0, 50.0, 120))
    values = np.where(rng.random((120, 2)) < 0.5, rng.normal(size=(120, 2)), NAN)
    queries = rng.uniform(0.0, 70.0, 80)
    means, _ = naive(times, values, queries.tolist(), 7.3)
    for query, row in zip(queries, means):
        for c, mean in enumerate(row):
            is_seen = (times < query) & ~np.isnan(values[:, c])
            expected = (-7.0, -8.0)[c]
            if is_seen.any():
                source = query
                while source > times[is_seen][-1] or source == query:
                    source -= 7.3
                expected = np.interp(source, times[is_seen], values[is_seen, c])
            assert mean == pytest.approx(expected, abs=1e-9)


def test_the_period_keeps_its_bits_in_single_precision():
    model = SeasonalNaiveModel(1)
    model.set_period(365.2425 / 7.0)
    assert abs(model.float().period.item() - 365.2425 / 7.0) < 1e-12


def seasonal_walk(n_series, rng):
    """A shape of period 1, which walks from period to period by a standard deviation of 1 at each phase."""
    shape = rng.normal(size=(n_series, 1, 8)) * 5.0
    return (shape + rng.normal(size=(n_series, 20, 8)).cumsum(axis=1)).reshape(n_series, -1, 1)


def windows_of(values, rng, horizon=4.0):
    series = [Series(np.arange(len(row)) / 8.0, row) for row in values]
    window = make_window(series, list(rng.uniform(8.0, 14.0, len(series))), horizon, 10**9, dtype=torch.float64)
    return [window.context], [(window.context, window.targets)]


def test_the_spread_grows_with_the_number_of_periods_back_and_not_within_one():
    rng = np.random.default_rng(0)
    model = SeasonalNaiveModel(1)
    model.fit(*windows_of(seasonal_walk(150, rng), rng))
    history = IrregularBatch.from_arrays([np.arange(81) / 8.0], [np.zeros((81, 1))], torch.float64)
    leads = torch.tensor([[0.25, 1.0, 1.25, 2.0, 3.5]], dtype=torch.float64)
    variance = model.forecast(history, 10.0 + leads).variance[0, :, 0].tolist()
    assert variance[0] == variance[1]
    assert variance[2] == variance[3]
    # each is a mean of 1200 squares: 6 standard errors are 6 (2 / 1200)^0.5 = 0.24 of it
    assert [variance[0], variance[2], variance[4]] == pytest.approx([1.0, 2.0, 4.0], rel=0.24)


def test_of_the_candidates_that_is_taken_which_errs_least_and_the_shortest_of_equals():
    rng = np.random.default_rng(1)
    model = SeasonalNaiveModel(1)
    model.candidates = (2.5, 1.0, 0.4)
    batches, windows = windows_of(seasonal_walk(10, rng), rng)
    model.fit(batches, windows)
    assert model.period.item() == 1.0
    model.fit(*windows_of(np.zeros((10, 160, 1)), rng))
    assert model.period.item() == 1.0  # what was chosen stays
    model.candidates = (2.5, 0.4)
    model.fit(*windows_of(np.zeros((10, 160, 1)), rng))
    assert model.period.item() == 0.4

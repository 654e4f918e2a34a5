"""Rounds of the backtest in fit: nothing that is asked was learned from, and cuts lie where they will."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tsode.core.timeline import Timeline
from tsode.errors import DataError
from tsode.estimators.auto.rounds import Round, asks_others, make_rounds
from tsode.frames.panel import Panel
from tsode.frames.read import read_panel


def panel_of(n_series: int, n_rows: int, gap: float = 1.0, seed: int = 0) -> Panel:
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(n_series):
        times = np.cumsum(rng.exponential(gap, n_rows)) + rng.uniform(0.0, 5.0)
        frames.append(pd.DataFrame({"unique_id": f"s{k:02d}", "ds": times, "y": rng.normal(size=n_rows)}))
    return read_panel(pd.concat(frames))


def rounds_of(panel: Panel, horizon: float) -> list[Round]:
    return make_rounds(panel, Timeline.fit(panel.times), horizon, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("n_series", [1, 2, 3, 9, 25, 45])
@pytest.mark.parametrize("horizon", [0.5, 5.0, 30.0, 500.0])
@pytest.mark.parametrize("n_rows", [12, 60])
def test_what_is_asked_was_not_learned_from_and_comes_after_its_past(n_series, horizon, n_rows):
    for of_round in rounds_of(panel_of(n_series, n_rows), horizon):
        learned = dict(zip(of_round.train.ids, of_round.train.times))
        assert of_round.questions
        for question in of_round.questions:
            assert list(question.past.ids) == list(question.future.ids)
            for key, past, future in zip(question.past.ids, question.past.times, question.future.times):
                assert len(past)
                assert len(future)
                assert past[-1] < future[0]
                assert not np.isin(future, learned.get(key, np.empty(0))).any()


def test_many_series_are_each_held_out_once():
    rounds = rounds_of(panel_of(25, 30), 5.0)
    asked = [set().union(*(question.past.ids for question in of_round.questions)) for of_round in rounds]
    assert sum(map(len, asked)) == len(set().union(*asked)) == 25
    for of_round, keys in zip(rounds, asked):
        assert keys.isdisjoint(of_round.train.ids)


def test_of_very_many_or_long_series_a_part_is_held_out_once():
    assert len(rounds_of(panel_of(60, 30), 5.0)) == 1
    assert len(rounds_of(panel_of(70, 49), 5.0)) == 1


def test_few_series_are_asked_for_their_later_blocks_within_the_horizon():
    panel = panel_of(2, 300)
    (of_round,) = rounds_of(panel, 20.0)
    for key, times in zip(panel.ids, panel.times):
        train = of_round.train.times[list(of_round.train.ids).index(key)]
        assert times[len(train) - 1] >= times[0] + 0.55 * (times[-1] - times[0])
    for question in of_round.questions:
        for past, future in zip(question.past.times, question.future.times):
            assert future[-1] <= past[-1] + 20.0 * (1.0 + 1e-6)


def test_cuts_do_not_hang_on_the_unit_of_time():
    hours = panel_of(4, 50)
    frame = pd.concat([
        pd.DataFrame({"unique_id": key, "ds": 60.0 * times, "y": values[:, 0]})
        for key, times, values in zip(hours.ids, hours.times, hours.values)
    ])  # fmt: skip
    minutes = read_panel(frame)
    of_minutes = make_rounds(minutes, Timeline.fit(minutes.times, unit=60.0), 7.0, torch.Generator().manual_seed(0))
    for one, other in zip(rounds_of(hours, 7.0), of_minutes, strict=True):
        assert [len(t) for t in one.train.times] == [len(t) for t in other.train.times]
        sizes = [[[len(t) for t in q.future.times] for q in of_one.questions] for of_one in (one, other)]
        assert sizes[0] == sizes[1]


def test_where_the_horizon_is_long_a_second_round_learns_up_to_the_last_cut():
    panel = panel_of(2, 100)
    first, second = rounds_of(panel, 20.0)
    assert second.learns_longer
    assert not first.learns_longer
    for k, times in enumerate(panel.times):
        shares = [(len(of_round.train.times[k]), len(of_round.questions)) for of_round in (first, second)]
        spans = [(times[n - 1] - times[0]) / (times[-1] - times[0]) for n, _ in shares]
        assert spans[0] == pytest.approx(0.6, abs=0.05)
        assert spans[1] == pytest.approx(0.8, abs=0.05)
        assert [n for _, n in shares] == [2, 1]


def test_a_row_in_which_nothing_was_seen_is_neither_learned_nor_asked():
    frame = pd.DataFrame({"unique_id": "a", "ds": np.arange(30.0), "y": np.where(np.arange(30) % 2, np.nan, 1.0)})
    for question in (question for of_round in rounds_of(read_panel(frame), 4.0) for question in of_round.questions):
        assert not np.isnan(np.concatenate(question.future.values)).any()


def test_series_of_one_row_each_are_refused_with_what_helps():
    frame = pd.DataFrame({"unique_id": list("abc"), "ds": [0.0, 1.0, 2.0], "y": 1.0})
    with pytest.raises(DataError, match=r"No series has two observation times.*ConstantForecaster"):
        rounds_of(read_panel(frame), 1.0)


def test_some_short_series_are_held_out_whole_and_some_long_ones_are_not():
    assert asks_others(panel_of(4, 12))
    assert not asks_others(panel_of(2, 12))
    assert not asks_others(panel_of(4, 200))
    assert len(rounds_of(panel_of(4, 12), 2.0)) == 3

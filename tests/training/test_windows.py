"""Windows: what stands before a cut, what after it, and how cuts are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsode.core.series import Series
from tsode.training.windows import WindowSampler, drop_values, make_window, split_for_validation, validation_windows

NAN = np.nan


def line(n: int, start: float = 0.0, gap: float = 1.0) -> Series:
    times = start + gap * np.arange(n)
    return Series(times, np.stack([times, -times], axis=1))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_cut_has_its_event_behind_it_and_the_horizon_ahead():
    window = make_window([line(10), line(3)], [4.0, 0.5], 2.5, 3, dtype=torch.float64)
    assert window.context.times[0].tolist() == [2.0, 3.0, 4.0]
    assert window.targets.times[0].tolist() == [5.0, 6.0]
    assert window.context.lengths.tolist() == [3, 1]
    assert window.targets.lengths.tolist() == [2, 2]
    assert window.targets.values[1, :, 0].tolist() == [1.0, 2.0]


def test_of_too_many_targets_every_second_is_kept():
    window = make_window([line(100)], [9.0], 50.0, 10, max_targets=25)
    assert window.targets.times[0].tolist() == list(np.arange(10.0, 60.0, 2.0))


def test_dropped_values_are_hidden_from_the_context_alone():
    window = make_window([line(40)] * 50, [29.0] * 50, 5.0, 30)
    dropped = drop_values(window, 0.6, generator())
    hidden = window.context.mask & ~dropped.context.mask
    share = hidden.double().mean(dim=(1, 2))
    assert 0.2 < (share == 0).double().mean() < 0.5  # three series in ten lose nothing
    assert share.max() < 0.85
    assert not dropped.context.values[~dropped.context.mask].any()
    assert torch.equal(dropped.hidden.mask, window.context.mask)
    assert torch.equal(dropped.targets.values, window.targets.values)
    assert torch.equal(drop_values(window, 0.6, generator()).context.mask, dropped.context.mask)


def test_a_quarter_of_the_cuts_stands_one_horizon_before_the_end():
    series = [line(100) for _ in range(20)]
    sampler = WindowSampler(series, horizon=10.0, batch_size=50, min_batches=20, drop=0.0)
    lasts = torch.cat([window.context.times[:, -1] for window in sampler.epoch(generator())])
    share = (lasts == 89.0).double().mean().item()
    # 1000 draws: six standard errors of a quarter are 0.083
    assert share == pytest.approx(0.25, abs=0.1)
    others = lasts[lasts != 89.0]
    assert others.min() >= 4.0
    assert others.max() <= 95.0


def test_every_window_has_an_event_on_either_side():
    series = [line(2), line(3, gap=5.0), line(50, gap=0.1)]
    sampler = WindowSampler(series, horizon=1.0, batch_size=8, min_batches=10)
    for window in sampler.epoch(generator()):
        assert (window.hidden.lengths > 0).all()
        assert window.hidden.n_series == 8


def test_long_series_come_as_often_as_their_span_says_and_short_ones_in_turn():
    sampler = WindowSampler([line(10)] * 3, horizon=100.0, batch_size=6, min_batches=2)
    order = sampler.order(generator())
    assert order.shape == (2, 6)
    assert torch.bincount(order.flatten()).tolist() == [4, 4, 4]
    sampler = WindowSampler([line(10), line(1001)], horizon=5.0, batch_size=50, min_batches=20)
    counts = torch.bincount(sampler.order(generator()).flatten())
    assert counts[1] / counts[0] == pytest.approx(100.0, rel=0.9)


def test_few_windows_come_in_small_batches_and_an_epoch_of_many_is_a_part_of_them():
    sizes = []
    for n_series in (3, 20, 600, 5000):
        sampler = WindowSampler([line(10)] * n_series, horizon=100.0, batch_size=100)
        sizes.append((sampler.batch_size, sampler.n_batches))
        assert sampler.order(generator()).shape == sizes[-1][::-1]
    assert sizes == [(16, 20), (40, 20), (100, 20), (100, 40)]


def test_a_silence_counts_as_one_horizon():
    times = np.concatenate([np.arange(5.0), 1000.0 + np.arange(5.0)])
    clock = Series(times, np.zeros((10, 1))).active_clock(3.0)
    assert clock[-1] == 4.0 + 3.0 + 4.0
    sampler = WindowSampler([Series(times, np.zeros((10, 1)))], horizon=3.0)
    assert sampler.weight.tolist() == [2.0]


def test_the_same_generator_draws_the_same_windows():
    sampler = WindowSampler([line(30), line(20)], horizon=4.0, batch_size=4, min_batches=3)
    one, two = (list(sampler.epoch(generator(3))) for _ in range(2))
    for left, right in zip(one, two):
        assert torch.equal(left.context.values, right.context.values)
        assert torch.equal(left.targets.times, right.targets.times)


def test_series_of_one_event_are_left_out():
    sampler = WindowSampler([line(1), Series(np.empty(0), np.empty((0, 2)))], horizon=1.0)
    assert sampler.series == []
    assert sampler.n_batches == 0


def test_many_series_are_validated_on_a_share_of_them():
    series = [line(n + 2) for n in range(40)]
    split = split_for_validation(series, 0.1, 3.0, generator())
    assert len(split.valid) == 4
    assert len(split.train) == 36
    assert split.valid_from is None
    assert {id(one) for one in split.train}.isdisjoint({id(one) for one in split.valid})


def test_few_series_are_validated_on_the_end_of_each():
    series = [line(101), line(1)]
    split = split_for_validation(series, 0.1, 15.0, generator())
    assert len(split.train) == len(split.valid) == 1
    assert split.valid_from == [85.0]
    assert split.train[0].times[-1] == 85.0
    short = split_for_validation([line(101)], 0.1, 60.0, generator())
    assert short.valid_from == [75.0], "at most a quarter of the span is held out"


def test_validation_windows_of_a_held_out_end_are_cut_there():
    split = split_for_validation([line(101)], 0.1, 15.0, generator())
    windows = validation_windows(split.valid, split.valid_from, 5.0, 1000, torch.float32)
    for window in windows:
        assert (window.context.times.amax(dim=1) >= 85.0).all()
        assert (window.targets.lengths > 0).all()
        # no two windows are the same
        assert len(set(window.context.lengths.tolist())) == window.context.n_series


def test_a_series_too_short_for_a_window_gives_none():
    assert validation_windows([line(1)], None, 1.0, 10, torch.float32) == []

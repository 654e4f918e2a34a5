import numpy as np
import pandas as pd
import pytest
import torch

from tsode.errors import DataError, ParameterError
from tsode.frames.panel import Panel
from tsode.frames.read import read_panel
from tsode.frames.splits import split_series, split_time


def panel_of(*lengths: int) -> Panel:
    return read_panel([pd.Series(np.arange(n, dtype=float), index=np.arange(n)) for n in lengths])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("fraction", "n_held"), [(0.01, 1), (0.3, 3), (0.99, 9)])
def test_every_series_is_on_one_side_and_neither_side_is_empty(fraction, n_held):
    kept, held_back = split_series(panel_of(*[3] * 10), fraction, generator())
    assert len(held_back) == n_held
    assert sorted(kept.ids + held_back.ids) == list(range(10))
    assert kept.ids == sorted(kept.ids)


def test_the_generator_alone_decides_which_series_are_held_back():
    panel = panel_of(*[3] * 50)
    first, again, other = (split_series(panel, 0.5, generator(seed))[1].ids for seed in (0, 0, 1))
    assert first == again != other


def test_one_series_cannot_be_held_back():
    with pytest.raises(DataError, match="hold back its end with `split_time`"):
        split_series(panel_of(5), 0.1, generator())


def test_the_end_of_each_series_is_held_back():
    past, future = split_time(panel_of(10, 3, 1), 0.2)
    assert [len(t) for t in past.times] == [8, 2, 1]
    assert [len(t) for t in future.times] == [2, 1, 0]
    assert future.times[0].tolist() == [8, 9]
    assert future.values[0].tolist() == [[8.0], [9.0]]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, float("nan")])
def test_a_fraction_lies_between_0_and_1(fraction):
    with pytest.raises(ParameterError, match="between 0 and 1"):
        split_time(panel_of(5), fraction)

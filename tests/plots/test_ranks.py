from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsode.errors import DataError
from tsode.plots import plot_rank_histogram


def ranks() -> pd.DataFrame:
    table = pd.DataFrame({"k": np.arange(200) % 100, "start": np.repeat([3, 50], 100)})
    table.attrs["chi_square"] = {"k": 1.0, "start": 0.0}
    return table


def test_bars_are_the_numbers_of_ranks_and_the_title_has_their_chance():
    figure = plot_rank_histogram(ranks())
    panels = [axis for axis in figure.axes if axis.get_title()]
    assert [axis.get_title() for axis in panels] == ["k, p = 1", "start, p = 0"]
    heights = [[patch.get_height() for patch in axis.containers[0]] for axis in panels]
    assert heights[0] == [10] * 20
    assert heights[1] == [100] + [0] * 9 + [100] + [0] * 9


def test_no_rank_is_an_error():
    with pytest.raises(DataError, match="has 0 rows"):
        plot_rank_histogram(ranks()[:0])

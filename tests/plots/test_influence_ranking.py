import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from tsode.errors import DataError
from tsode.plots import plot_influence_ranking

TABLE = pd.DataFrame({
    "series": ["a", "b", "c"], "channel": "y", "rms": [0.3, 0.2, 0.1], "rms_sd": [0.3, 0.2, 0.1],
    "mean_change": [0.3, -0.2, 0.1], "status": ["ok", "ok", "not converged"],
})  # fmt: skip


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_bars_are_those_of_the_leading_series_with_the_bound_beside():
    ax = plot_influence_ranking(TABLE.iloc[::-1], n=2, bound=0.5)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b"]
    assert [bar.get_width() for bar in ax.containers[0]] == [0.3, 0.2]
    assert ax.lines[0].get_xdata()[0] == 0.5
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "bound",
        "higher without it",
        "lower without it",
    ]


def test_a_minimum_that_was_not_reached_is_pale():
    assert [bar.get_alpha() for bar in plot_influence_ranking(TABLE).containers[0]] == [1.0, 1.0, 0.35]


def test_observations_are_told_apart_by_series_and_time_and_by_channel_where_there_are_several():
    table = TABLE.assign(series="a", time=[0.5, 1.0, 2.25], observed="y")
    assert [text.get_text() for text in plot_influence_ranking(table).get_yticklabels()] == [
        "a, 0.5",
        "a, 1",
        "a, 2.25",
    ]
    ax = plot_influence_ranking(table.assign(observed=["y", "u", "y"]), "y")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a, y, 0.5", "a, u, 1", "a, y, 2.25"]


def test_an_empty_table_has_nothing_to_rank():
    with pytest.raises(DataError, match="no row"):
        plot_influence_ranking(TABLE.iloc[:0])

"""Picture of a leaderboard whose numbers are known."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from tsode import AutoForecaster, LastValueForecaster
from tsode.errors import DataError
from tsode.plots import plot_leaderboard
from tsode.testing import example_panel


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def board(**columns) -> pd.DataFrame:
    rows = [
        ("combination", 0.30, 0.2, 0.4, 1.0, "ok"),
        ("Direct", 0.35, 0.3, 0.4, 0.75, "ok"),
        ("LinearSDE", 0.40, 0.3, 0.5, 0.0, "ok"),
        ("LastValue", 0.50, 0.1, 0.9, 0.25, "ok"),
        ("JumpODE", np.nan, np.nan, np.nan, 0.0, "no time: 3 s were left"),
        ("my $own$", np.nan, np.nan, np.nan, 0.0, f"failed: ValueError: {'much ' * 99}"),
        ("LatentODE", np.nan, np.nan, np.nan, 0.0, "no time: 3 s were left"),
    ]
    names = ["model", "crps", "crps to 0.5 horizon", "crps to 1 horizon", "weight", "status"]
    return pd.DataFrame(rows, columns=names).assign(**columns)


def labels(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def test_the_combination_is_on_top_and_members_follow_by_score_whatever_the_order_of_rows():
    ax = plot_leaderboard(board().iloc[::-1])
    assert labels(ax) == ["combination", "Direct", "LinearSDE", "LastValue"]
    assert [bar.get_width() for bar in ax.patches] == [0.30, 0.35, 0.40, 0.50]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


def test_members_with_a_weight_have_it_written_and_a_colour_of_their_own():
    ax = plot_leaderboard(board())
    notes = [text.get_text() for text in ax.texts]
    assert [("weight" in note) for note in notes] == [False, True, False, True]
    assert notes[1].endswith("weight 75%")
    colours = [to_hex(bar.get_facecolor()) for bar in ax.patches]
    assert len(set(colours)) == 4
    assert colours[1:4:2] == [to_hex("C0"), to_hex("C1")]


def test_baselines_are_hatched_and_the_others_are_not():
    ax = plot_leaderboard(board())
    assert [bool(bar.get_hatch()) for bar in ax.patches] == [False, False, False, True]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["baseline"]
    assert plot_leaderboard(board().query("model != 'LastValue'")).get_legend() is None


def test_lines_by_lead_are_those_of_the_combination_and_of_members_with_a_weight():
    beside = plot_leaderboard(board()).figure.axes[1]
    lines = {line.get_label(): line.get_xydata().tolist() for line in beside.lines if line.get_marker() == "o"}
    assert lines == {
        "combination": [[0.25, 0.2], [0.75, 0.4]],
        "Direct": [[0.25, 0.3], [0.75, 0.4]],
        "LastValue": [[0.25, 0.1], [0.75, 0.9]],
    }


def test_one_range_of_leads_needs_no_second_panel():
    assert len(plot_leaderboard(board().drop(columns="crps to 0.5 horizon")).figure.axes) == 1


@pytest.mark.parametrize("is_given", [False, True])
def test_members_without_a_score_are_named_with_their_reason_those_of_one_reason_together(is_given):
    ax = plot_leaderboard(board(), ax=plt.subplots()[1] if is_given else None)
    told = ax.texts[0].get_text() if is_given else ax.figure.get_supxlabel()
    assert "JumpODE, LatentODE: no time: 3 s were left" in told
    assert r"my \$own\$: failed: ValueError: much" in told
    assert max(map(len, told.splitlines())) < 150
    assert told.count("much") < 40
    ax.figure.canvas.draw()


def test_it_is_drawn_on_the_axes_that_are_given():
    given = plt.subplots()[1]
    assert plot_leaderboard(board(), ax=given) is given
    assert len(given.child_axes) == 1


def test_a_fitted_forecaster_is_drawn_as_its_leaderboard():
    auto = AutoForecaster(members=["LastValueForecaster", "ConstantForecaster"], random_state=0).fit(example_panel())
    ax = plot_leaderboard(auto)
    assert labels(ax) == auto.leaderboard_["model"].tolist()
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], auto.leaderboard_["crps"])


def test_what_is_no_leaderboard_is_refused():
    with pytest.raises(DataError, match="pass a fitted AutoForecaster"):
        plot_leaderboard(LastValueForecaster().fit(example_panel()))
    with pytest.raises(DataError, match="pass a fitted AutoForecaster"):
        plot_leaderboard(example_panel())

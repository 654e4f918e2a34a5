import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tests.registries import fitted
from tsode.errors import DataError
from tsode.plots import plot_history

ROWS = pd.DataFrame({"epoch": [1, 2, 3], "train_loss": [3.0, 2.0, 1.0], "valid_loss": [3.0, 1.5, 2.0]})


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_losses_are_lines_and_the_epoch_kept_is_marked():
    ax = plot_history(ROWS)
    training, validation, mark = ax.lines
    np.testing.assert_array_equal(training.get_ydata(), [3.0, 2.0, 1.0])
    np.testing.assert_array_equal(validation.get_xydata()[:, 1], [3.0, 1.5, 2.0])
    assert mark.get_xdata() == [2, 2]
    assert labels(ax) == ["training", "validation", "kept: epoch 2"]


def test_the_learning_rate_has_an_axis_of_logarithms():
    ax = plot_history(ROWS.assign(learning_rate=[1e-2, 1e-2, 1e-3]))
    (other,) = [one for one in ax.figure.axes if one is not ax]
    assert other.get_yscale() == "log"
    np.testing.assert_array_equal(other.lines[0].get_ydata(), [1e-2, 1e-2, 1e-3])


def test_evaluations_of_a_field_are_drawn_where_a_solver_counted_them():
    ax = plot_history(ROWS.assign(n_evaluations=[20, 40, 30]))
    (strip,) = ax.child_axes
    np.testing.assert_array_equal(strip.lines[0].get_ydata(), [20, 40, 30])


def test_a_fitted_forecaster_is_read():
    assert "training" in labels(plot_history(fitted("JumpODEForecaster-float64")))
    with pytest.raises(DataError, match="trained by epochs"):
        plot_history(fitted("LastValueForecaster-float64"))


def test_one_epoch_is_a_point_at_a_whole_number():
    ax = plot_history(ROWS[:1])
    assert [line.get_marker() for line in ax.lines[:2]] == ["o", "o"]
    ax.figure.canvas.draw()
    shown = [tick for tick in ax.get_xticks() if ax.get_xlim()[0] <= tick <= ax.get_xlim()[1]]
    assert shown == [0.0, 1.0, 2.0]

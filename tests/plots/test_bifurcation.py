import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from tsode.errors import ParameterError
from tsode.plots import plot_bifurcation
from tsode.stability import continuation


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def cubic(t, z, p):
    return p[:, None] + z - z**3


def bautin(t, z, p):
    square = z.square().sum(dim=1)
    return (p + square - square**2)[:, None] * z + torch.stack([-z[:, 1], z[:, 0]], dim=1)


def texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_stable_parts_are_solid_unstable_ones_dashed_and_folds_marked_where_they_meet():
    branch = continuation(cubic, [-1.3], (-1.0, 1.0))
    ax = plot_bifurcation(branch)
    assert texts(ax) == ["stable fixed point", "unstable fixed point", "fold"]
    *curves, folds = ax.lines
    assert [line.get_linestyle() for line in curves] == ["-", "--", "-"]
    edge = 1 / np.sqrt(3)
    assert [line.get_ydata()[-1] for line in curves] == pytest.approx([-edge, edge, branch["z1"].iloc[-1]], abs=1e-9)
    assert curves[1].get_ydata()[0] == curves[0].get_ydata()[-1]
    np.testing.assert_allclose(folds.get_ydata(), [-edge, edge], atol=1e-9)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("p", "z1")


@pytest.mark.slow
def test_cycles_are_drawn_by_their_least_and_largest_values_beside_fixed_points():
    points = continuation(bautin, [0.0, 0.0], (-0.5, 0.5))
    cycles = continuation(bautin, points[points["event"] == "hopf"], (-0.5, 0.5), of="cycles")
    ax = plot_bifurcation([points, cycles], coordinate="z2")
    assert {"stable cycle", "unstable cycle", "hopf", "fold"} < set(texts(ax))
    reached = [line.get_ydata() for line in ax.lines]
    assert max(y.max() for y in reached) == pytest.approx(cycles["max_z2"].max())
    assert min(y.min() for y in reached) == pytest.approx(cycles["min_z2"].min())


def test_a_coordinate_that_is_not_there_is_named():
    with pytest.raises(ParameterError, match="coordinate='y' is none of 'z1'"):
        plot_bifurcation(continuation(cubic, [-1.3], (-1.0, 1.0)), coordinate="y")


def test_branches_along_several_parameters_are_not_drawn_together():
    branches = [continuation(cubic, [-1.3], (-1.0, 1.0), name=name) for name in ("p", "q")]
    with pytest.raises(ParameterError, match="several parameters, p, q"):
        plot_bifurcation(branches)

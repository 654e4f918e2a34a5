import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.quiver import Quiver

from tsode.dynamics import DYNAMICS
from tsode.errors import ParameterError
from tsode.plots import plot_phase
from tsode.stability import fixed_points, invariant_manifold


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def rotation(t, z):
    return torch.stack([-z[:, 1], z[:, 0]], dim=1)


def test_arrows_point_where_the_field_does_and_colours_say_how_fast():
    ax = plot_phase(rotation, xlim=(-2.0, 2.0), ylim=(-2.0, 2.0), n_arrows=5)
    (arrows,) = [one for one in ax.collections if isinstance(one, Quiver)]
    x, y = arrows.X, arrows.Y
    radius = np.hypot(x, y)
    np.testing.assert_allclose(arrows.get_array(), radius)
    np.testing.assert_allclose(arrows.U * radius, -y, atol=1e-12)
    np.testing.assert_allclose(arrows.V * radius, x, atol=1e-12)


def test_trajectories_are_lines_that_start_at_a_dot_and_set_the_range():
    path = np.array([[0.0, 1.0], [1.0, 2.0], [2.0, 5.0]])
    ax = plot_phase(rotation, [path], labels=("prey", "hunters"))
    line, dot = ax.lines
    np.testing.assert_array_equal(line.get_xydata(), path)
    np.testing.assert_array_equal(dot.get_xydata(), path[:1])
    np.testing.assert_allclose((ax.get_xlim(), ax.get_ylim()), [(-0.2, 2.2), (0.6, 5.4)])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("prey", "hunters")


def test_other_coordinates_are_held_where_asked():
    def field(t, z):
        return z[:, [2, 2, 2]]

    ax = plot_phase(field, coordinates=(0, 1), at=[0.0, 0.0, 3.0], xlim=(0, 1), ylim=(0, 1), n_arrows=2)
    np.testing.assert_allclose(ax.collections[0].get_array(), 3.0 * np.sqrt(2.0))


def test_a_neural_field_is_asked_in_its_own_dtype():
    ax = plot_phase(DYNAMICS["mlp"](4), coordinates=(1, 3), xlim=(-1, 1), ylim=(-1, 1))
    assert ax.get_ylabel() == "z[3]"
    assert np.isfinite(ax.collections[0].get_array()).all()


def test_without_trajectories_the_range_must_be_given():
    with pytest.raises(ParameterError, match="give xlim= and ylim="):
        plot_phase(rotation, xlim=(0, 1))


def duffing(t, z):
    return torch.stack([z[:, 1], z[:, 0] - z[:, 0] ** 3 - 0.2 * z[:, 1]], dim=1)


def test_fixed_points_have_marks_by_their_kind_and_set_the_range():
    ax = plot_phase(duffing, points=fixed_points(duffing, box=[(-2, 2)] * 2), ylim=(-1.0, 1.0))
    marks = {round(float(line.get_xdata()[0])): line for line in ax.lines}
    assert {x: line.get_fillstyle() for x, line in marks.items()} == {-1: "full", 0: "left", 1: "full"}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["sink", "saddle"]
    assert ax.get_xlim() == pytest.approx((-1.2, 1.2))


def test_a_source_is_open_and_a_centre_a_cross():
    kinds = {"source": lambda t, z: z, "centre": rotation}
    for kind, field in kinds.items():
        ax = plot_phase(field, points=fixed_points(field, [[0.1, 0.1]]), xlim=(-1, 1), ylim=(-1, 1))
        (mark,) = ax.lines
        assert (mark.get_marker(), mark.get_markerfacecolor()) == (
            ("o", "white") if kind == "source" else ("x", "black")
        )


@pytest.mark.slow
def test_manifolds_go_from_the_saddle_along_the_field_to_where_it_rests_or_out_of_the_picture():
    def field(t, z):
        return torch.stack([z[:, 0] - z[:, 0] ** 3, -z[:, 1] + z[:, 0] ** 2], dim=1)

    curves = [invariant_manifold(field, [0.0, 0.0], which=which) for which in ("unstable", "stable")]
    ax = plot_phase(field, manifolds=curves, xlim=(-2, 2), ylim=(-2, 2))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["unstable manifold", "stable manifold"]
    red, blue = ([line.get_xydata() for line in ax.lines if line.get_color() == c] for c in ("C3", "C0"))
    # the unstable one ends in the sinks (+-1, 1), the stable one is the axis x = 0
    np.testing.assert_allclose(sorted(half[-1].tolist() for half in red), [[-1, 1], [1, 1]], atol=0.03)
    assert all(np.abs(half[:, 0]).max() < 1e-9 for half in blue)
    assert all(abs(half[-1, 1]) > 2 for half in blue)
    # slope of the series at the start: y = x**2 / 3
    start = red[0][:10]
    np.testing.assert_allclose(start[:, 1], start[:, 0] ** 2 / 3, atol=1e-3)

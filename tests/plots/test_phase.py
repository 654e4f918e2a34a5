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

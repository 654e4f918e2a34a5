import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from tsode.errors import ParameterError
from tsode.plots import plot_basin
from tsode.stability import basin, basin_distance


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def wells(t, z):
    return z - z**3


def texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_cells_have_the_colour_of_their_attractor_whose_share_is_in_the_legend():
    table = basin(wells, [(-2, 2), (-1, 3)], n=8, names=["x", "y"])
    ax = plot_basin(table)
    (cells,) = ax.collections
    codes = cells.get_array().reshape(8, 8)  # y by x
    labels = table["attractor"].to_numpy().reshape(8, 8).T
    np.testing.assert_array_equal(codes, labels + 2)
    assert texts(ax)[:2] == ["fixed point 0: 12.5%", "fixed point 1: 37.5%"]
    dots = np.array([line.get_xydata()[0] for line in ax.lines])
    assert sorted(map(tuple, dots.round(6).tolist())) == [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_xlim(), ax.get_ylim()) == ("x", "y", (-2, 2), (-1, 3))


@pytest.mark.slow
def test_states_that_diverge_are_grey_and_their_share_is_told():
    def field(t, z):
        return torch.stack([z[:, 0] ** 2 - 1, -z[:, 1]], dim=1)

    ax = plot_basin(basin(field, [(-2, 2), (-1, 1)], n=8))
    assert texts(ax) == ["fixed point 0: 75.0%", "diverged: 25.0%"]
    assert set(np.unique(ax.collections[0].get_array())) == {1, 2}


@pytest.mark.slow
def test_states_without_a_grid_are_dots_and_distances_are_lines_to_the_edge():
    generator = torch.Generator().manual_seed(0)
    starts = 4 * torch.rand(50, 2, dtype=torch.float64, generator=generator) - 2
    table = basin(wells, [(-2, 2)] * 2, starts=starts)
    near = basin_distance(wells, [[0.3, 1.0]], table)
    ax = plot_basin(table, near)
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), starts.numpy())
    assert [text.get_text() for text in ax.texts] == ["0.3"]
    ways = [line.get_xydata() for line in ax.lines if len(line.get_xydata()) == 2]
    np.testing.assert_allclose(ways[0], [[0.3, 1.0], [0.0, 1.0]], atol=2e-2)


def test_one_coordinate_is_no_picture():
    with pytest.raises(ParameterError, match="takes two coordinates, but there is one, 'z1'"):
        plot_basin(basin(wells, [(-2, 2)], n=4))

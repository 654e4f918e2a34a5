import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import tsode
from tests.structures.networks import EDGES, data, forecaster, linear
from tsode.errors import ParameterError
from tsode.plots import plot_inclusion


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def found():
    seen = ("x", "total")
    rows = data({"xy": 0.8, "yx": -0.7}, seen=seen, n=12)
    both = [["x->y", "y->x"], ["x->z", "z->x"], ["x->y"], []]
    return tsode.compare_structures(forecaster(seen=seen), EDGES, rows, candidates=both, random_state=0)


@pytest.mark.slow
def test_edges_that_are_named_by_their_ends_make_a_matrix_of_target_and_source(found):
    left, right = plot_inclusion(found)
    assert [text.get_text() for text in left.get_xticklabels()] == ["x", "y", "z"]
    cells = left.images[0].get_array()
    assert cells[1, 0] == pytest.approx(found.inclusion.loc["x->y", "probability"])
    assert cells[0, 2] == pytest.approx(found.inclusion.loc["z->x", "probability"])
    assert cells.mask[1, 2]
    assert len(left.texts) == 4
    bars = [bar.get_width() for bar in right.containers[0]]
    np.testing.assert_allclose(bars, found.table["probability"])
    labels = [text.get_text() for text in right.get_yticklabels()]
    assert sum(label.endswith("(a)") for label in labels) == 2


def test_other_names_make_bars_beside_their_prior():
    laws = {"straight": lambda t, z, p: linear(z, p, torch.stack)}
    laws["fast"] = lambda t, z, p: 2.0 * laws["straight"](t, z, p)
    model = forecaster(sd=0.05)
    found = tsode.compare_structures(model, {"law": laws}, data({}, n=3), random_state=0, inference="laplace")
    axes = plt.subplots(1, 2)[1]
    left, right = plot_inclusion(found, n_structures=1, axes=axes)
    assert left is axes[0]
    assert [bar.get_width() for bar in left.patches] == pytest.approx(found.inclusion["probability"].tolist())
    assert left.lines[0].get_xdata()[0] == 0.5
    assert len(right.containers[0]) == 1
    with pytest.raises(ParameterError, match="n_structures"):
        plot_inclusion(found, n_structures=0)

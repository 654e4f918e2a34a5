import numpy as np
import pytest
import torch

from tests.influence.scenes import ou_panel
from tsode import JumpODEForecaster
from tsode.influence import influence
from tsode.influence.left_out import LeftOut
from tsode.influence.series_influence import held_objective, moved_to


@pytest.fixture(scope="module")
def fitted():
    small = {"max_epochs": 1, "n_modes": 4, "n_static": 2, "n_hidden": 8, "expert": None, "n_members": 1}
    return JumpODEForecaster(**small, horizon=2.0, random_state=0).fit(ou_panel(10, 8))


@pytest.fixture(scope="module")
def objective(fitted):
    found = held_objective(fitted)
    found.start([LeftOut(k) for k in range(found.n)])
    return found


def test_the_fitted_weights_are_the_minimum_with_all_series(objective):
    value, slope = objective.value(objective.centre)
    assert float(slope.abs().max()) < 1e-9
    step = torch.randn(len(objective.centre), generator=torch.Generator().manual_seed(0)).double()
    assert objective.value(objective.centre + 0.02 * step)[0] > value


def test_slopes_are_those_of_differences_of_values(objective):
    axis = torch.randn(len(objective.centre), generator=torch.Generator().manual_seed(1)).double()
    point = objective.centre + 0.01 * axis
    ends = [objective.value(point + step * axis, LeftOut(2))[0] for step in (-1e-5, 1e-5)]
    assert float(objective.value(point, LeftOut(2))[1] @ axis) == pytest.approx((ends[1] - ends[0]) / 2e-5, rel=1e-5)


@pytest.mark.slow
def test_warm_minima_are_those_of_a_search_that_knows_no_curvature(fitted, objective):
    base = fitted.predict(horizon=2.0)["y"].to_numpy()
    warm = influence(fitted, horizon=2.0, method="warm").set_index("series")
    assert (warm["status"] == "ok").all()
    ids, truth = list(fitted._panel.ids)[:4], []
    for k in range(4):
        point, is_reached = objective.least(LeftOut(k))
        assert is_reached
        left = moved_to(fitted, objective, point).predict(horizon=2.0)["y"].to_numpy()
        truth.append(np.sqrt(np.mean((left - base) ** 2)))
    np.testing.assert_allclose(warm["rms"].loc[ids], truth, rtol=2e-2)

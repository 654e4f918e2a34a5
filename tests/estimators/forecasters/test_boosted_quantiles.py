"""Boosted trees as arrays: they give what scikit-learn gives, missing features among them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingRegressor

from tsode.estimators.forecasters.boosted_quantiles import export_trees
from tsode.models.direct.trees import QuantileTrees


def data(n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 4))
    y = np.sin(3.0 * x[:, 0]) + np.where(x[:, 1] > 0, 2.0, 0.5) * rng.normal(size=n)
    x[rng.random((n, 4)) < 0.2] = np.nan
    return x, y


def boosted(level: float, n_trees: int) -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(loss="quantile", quantile=level, max_iter=n_trees, early_stopping=False)


@pytest.fixture(scope="module")
def exported():
    x, y = data()
    fitted = [boosted(0.1, 7).fit(x, y), None, boosted(0.9, 12).fit(x, y)]
    trees = QuantileTrees(3, 4).double()
    export_trees(trees, fitted)
    return trees, fitted


def test_arrays_give_what_the_fitted_regressors_give(exported):
    trees, fitted = exported
    x = np.concatenate([data()[0], np.full((1, 4), np.nan), 100.0 * data(50)[0]])
    truth = np.stack([np.zeros(len(x)) if one is None else one.predict(x) for one in fitted], axis=1)
    assert np.ptp(truth[:, 2]) > 1.0
    np.testing.assert_allclose(trees(torch.from_numpy(x)).numpy(), truth, rtol=0, atol=1e-12)


def test_a_row_is_answered_as_if_it_were_alone(exported):
    trees, _ = exported
    x = torch.from_numpy(data(40)[0])
    assert torch.equal(torch.cat([trees(row[None]) for row in x]), trees(x))


def test_trees_come_back_from_their_tensors(exported):
    trees, _ = exported
    other = QuantileTrees(3, 4).double()
    other.resize_like(trees.state_dict())
    other.load_state_dict(trees.state_dict())
    x = torch.from_numpy(data()[0])
    assert torch.equal(other(x), trees(x))


@pytest.mark.parametrize(("name", "number"), [("left", 10_000), ("right", -1), ("feature", 4), ("depth", 10**9)])
def test_nodes_that_point_out_of_their_trees_are_refused(exported, name, number):
    state = {key: x.clone() for key, x in exported[0].state_dict().items()}
    state[name].view(-1)[0] = number
    with pytest.raises(ValueError, match="point out"):
        QuantileTrees(3, 4).double().resize_like(state)

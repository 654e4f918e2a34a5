"""Baselines against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsode.core.batch import IrregularBatch
from tsode.core.series import Series
from tsode.models.baselines import ConstantModel, DriftModel, LastValueModel
from tsode.training.windows import make_window

NAN = np.nan
BATCH = IrregularBatch.from_arrays(
    [np.array([0.0, 1.0, 3.0]), np.array([2.0])],
    [np.array([[1.0, NAN], [NAN, 5.0], [4.0, NAN]]), np.array([[NAN, 2.0]])],
    torch.float64,
)
QUERIES = torch.tensor([[0.0, 0.5, 3.0, 6.0], [1.0, 2.0, 3.0, 4.0]], dtype=torch.float64)


def means(model, side="left"):
    model.mean.copy_(torch.tensor([-7.0, -8.0]))
    return model.forecast(BATCH, QUERIES, side).mean


def test_the_constant_is_the_mean_of_what_was_seen_before():
    assert means(ConstantModel(2))[0].tolist() == [[-7.0, -8.0], [1.0, -8.0], [1.0, 5.0], [2.5, 5.0]]
    assert means(ConstantModel(2))[1].tolist() == [[-7.0, -8.0], [-7.0, -8.0], [-7.0, 2.0], [-7.0, 2.0]]


def test_the_last_value_is_carried_forward():
    assert means(LastValueModel(2))[0].tolist() == [[-7.0, -8.0], [1.0, -8.0], [1.0, 5.0], [4.0, 5.0]]


def test_the_drift_goes_through_the_first_and_the_last_value():
    assert means(DriftModel(2))[0].tolist() == [[-7.0, -8.0], [1.0, -8.0], [1.0, 5.0], [7.0, 5.0]]


def test_an_event_at_the_query_is_seen_from_the_right():
    assert means(LastValueModel(2), "right")[0].tolist() == [[1.0, -8.0], [1.0, -8.0], [4.0, 5.0], [4.0, 5.0]]


@pytest.mark.parametrize("model", [ConstantModel(1), DriftModel(1), LastValueModel(1)])
def test_the_spread_of_a_random_walk_grows_as_its_lead(model):
    generator = np.random.default_rng(0)
    series = [Series(np.arange(60.0), generator.normal(size=(60, 1)).cumsum(axis=0)) for _ in range(150)]
    cuts = list(generator.uniform(10.0, 45.0, 150))
    window = make_window(series, cuts, 12.0, 10**9, dtype=torch.float64)
    model.fit([window.context], [(window.context, window.targets)])
    last = torch.full((1, 2), 100.0, dtype=torch.float64) + torch.tensor([[2.0, 8.0]], dtype=torch.float64)
    history = IrregularBatch.from_arrays([np.arange(101.0)], [np.zeros((101, 1))], torch.float64)
    near, far = model.forecast(history, last).variance[0, :, 0].tolist()
    if isinstance(model, LastValueModel):
        # the variance of a walk is its lead; each bin of leads holds about 150 correlated errors
        assert near == pytest.approx(2.0, rel=0.4)
        assert far == pytest.approx(8.0, rel=0.4)
    assert far > 1.3 * near if not isinstance(model, ConstantModel) else far >= 0.8 * near


def test_sampled_paths_of_a_walk_have_increments_of_their_own_gap():
    model = LastValueModel(1)
    model.leads.copy_(torch.linspace(0.0, 11.0, 12))
    model.variances.copy_(torch.linspace(0.0, 11.0, 12)[:, None] + 1e-9)
    history = IrregularBatch.from_arrays([np.array([0.0])], [np.array([[5.0]])], torch.float64)
    queries = torch.tensor([[4.0, 1.0, 9.0]], dtype=torch.float64)
    n = 20_000
    paths = model.sample(history, queries, n, torch.Generator().manual_seed(0))[:, 0, :, 0]
    for (i, j), variance in {(0, 1): 3.0, (2, 0): 5.0, (2, 1): 8.0}.items():
        # the variance of n normal draws has a standard error of sqrt(2 / n) of itself
        assert (paths[:, i] - paths[:, j]).var().item() == pytest.approx(variance, rel=6.0 * (2.0 / n) ** 0.5)
    assert (paths.mean(dim=0) - 5.0).abs().max() < 6.0 * (9.0 / n) ** 0.5


def test_one_observation_gives_its_mean_and_a_variance_of_one():
    batch = IrregularBatch.from_arrays([np.array([0.0])], [np.array([[3.0, NAN]])], torch.float64)
    model = ConstantModel(2)
    model.fit([batch], [])
    assert model.mean.tolist() == [3.0, 0.0]
    assert model.variance.tolist() == [1.0, 1.0]


def test_beyond_its_table_a_spread_does_not_stay_at_the_low_of_a_season():
    model = ConstantModel(n_channels=1)
    model.variances.copy_(torch.linspace(3.0, 0.2, len(model.variances), dtype=torch.float64)[:, None])
    lead = torch.tensor([[[0.5], [1.0], [1.5], [2.0], [1e6]]], dtype=torch.float64)
    variance = model._variance_at(lead)[0, :, 0]
    assert (variance[1:].diff() >= 0.0).all()
    torch.testing.assert_close(variance[1], torch.tensor(0.2, dtype=torch.float64))
    torch.testing.assert_close(variance[3:], torch.tensor([3.0, 3.0], dtype=torch.float64))

"""Paths, forecasts and statuses: left and right limits, quantiles, the worst outcome."""

from __future__ import annotations

import pytest
import torch

from tsode.core.forecast import Forecast
from tsode.core.path import PaddedPath
from tsode.core.status import Status, worst
from tsode.likelihoods import Normal


@pytest.fixture
def path():
    return PaddedPath(
        times=torch.tensor([[1.0, 2.0, 2.0]], dtype=torch.float64),
        start=torch.tensor([[0.0]]),
        minus=torch.tensor([[[10.0], [20.0], [30.0]]]),
        plus=torch.tensor([[[11.0], [21.0], [31.0]]]),
        status=torch.zeros(1, dtype=torch.int64),
    )


def test_an_event_at_the_query_is_seen_from_the_right_only(path):
    queries = torch.tensor([[0.5, 1.0, 1.5, 2.0, 3.0]], dtype=torch.float64)
    assert path.index_before(queries).tolist() == [[0, 0, 1, 1, 3]]
    assert path.index_before(queries, "right").tolist() == [[0, 1, 1, 3, 3]]


def test_a_query_starts_from_the_state_after_the_last_event_behind_it(path):
    z, t = path.starts
    assert z[..., 0].tolist() == [[0.0, 11.0, 21.0, 31.0]]
    assert t[0, 1:].tolist() == [1.0, 2.0, 2.0]


def test_a_path_without_events_is_its_start():
    z = torch.zeros(2, 0, 3)
    path = PaddedPath(torch.zeros(2, 0, dtype=torch.float64), torch.ones(2, 3), z, z, torch.zeros(2, dtype=torch.int64))
    start, t = path.starts
    assert start.tolist() == [[[1.0] * 3]] * 2
    assert t.tolist() == [[0.0], [0.0]]


def test_the_worst_status_of_a_row_stands():
    one, other = torch.tensor([0, 2, 1]), torch.tensor([3, 1, 0])
    assert worst(one, other).tolist() == [3, 2, 1]
    assert Status.OK < Status.MAX_STEPS < Status.STEP_TOO_SMALL < Status.NON_FINITE
    assert all(status.meaning for status in Status)


def test_a_forecast_gives_moments_and_quantiles_of_its_family():
    params = torch.tensor([[[[2.0, 0.0]]]], dtype=torch.float64)
    forecast = Forecast(torch.zeros(1, 1), params, Normal(), torch.zeros(1))
    assert forecast.mean.tolist() == [[[2.0]]]
    assert forecast.variance.tolist() == [[[1.0]]]
    quantiles = forecast.quantile(torch.tensor([0.5, 0.975], dtype=torch.float64))
    assert quantiles[0, 0, 0].tolist() == pytest.approx([2.0, 3.959963984540054])
    assert forecast.rescale(3.0).variance.item() == pytest.approx(9.0)

"""Expert: how a filter's forecast and an exact one are mixed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsode.core.batch import IrregularBatch
from tsode.core.forecast import Forecast
from tsode.likelihoods.ensemble_mixture import NormalEnsemble
from tsode.models.filter_state import FilterState
from tsode.models.filters.expert import Expert, linear_expert
from tsode.testing.examples import example_batch
from tsode.training.expert import shares_of_filter

FAMILY = NormalEnsemble(2, 3)


def _both() -> tuple[Expert, Forecast, Forecast, torch.Tensor]:
    torch.manual_seed(0)
    expert = Expert(linear_expert(2, 0), 2)
    batch, times = example_batch(2)
    params = torch.randn(5, 5, 2, FAMILY.n_params, dtype=torch.float64)
    filtered = Forecast(times, params, FAMILY, torch.zeros(5, dtype=torch.int64))
    return expert, filtered, expert.forecast(batch, times), batch.since_last(times)


def _mixed(share: float) -> tuple[Forecast, Forecast, Forecast]:
    expert, filtered, own, lead = _both()
    expert.share.fill_(share)
    batch, _ = example_batch(2)
    return expert.mix(filtered, batch, lead, "left"), filtered, own


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_mean_is_that_of_both_by_their_shares(share: float) -> None:
    mixed, filtered, own = _mixed(share)
    torch.testing.assert_close(mixed.mean, own.mean + share * (filtered.mean - own.mean))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_variance_is_that_of_both_by_their_shares(share: float) -> None:
    mixed, filtered, own = _mixed(share)
    torch.testing.assert_close(mixed.variance, share * filtered.variance + (1.0 - share) * own.variance)


def test_with_a_share_of_nought_quantiles_are_the_experts() -> None:
    mixed, _, own = _mixed(0.0)
    p = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
    torch.testing.assert_close(mixed.quantile(p), own.quantile(p), rtol=1e-8, atol=1e-8)


def test_the_share_is_on_lines_between_lead_times_and_constant_outside() -> None:
    expert = Expert(linear_expert(1, 0), 1)
    expert.lead.copy_(torch.tensor([1.0, 2.0, 4.0]))
    expert.share.copy_(torch.tensor([0.0, 1.0, 0.5]))
    found = expert.share_at(torch.tensor([0.0, 1.0, 1.5, 3.0, 9.0]))
    assert found.tolist() == [0.0, 0.0, 0.5, 0.75, 0.5]


@pytest.mark.parametrize("cut", [0, 2, 5])
def test_an_expert_goes_on_from_its_state_as_from_the_whole_history(cut: int) -> None:
    torch.manual_seed(0)
    expert = Expert(linear_expert(1, 0), 1)
    times, values = np.cumsum(np.full(6, 0.3)), np.sin(np.arange(6.0))[:, None]
    whole, first, rest = (
        IrregularBatch.from_arrays([times[part]], [values[part]], torch.float64)
        for part in (slice(None), slice(cut + 1), slice(cut + 1, None))
    )
    z, one = torch.zeros(1, 1, 1), torch.ones(1, 1)
    at = first.times[:, -1]
    state = FilterState(at, at, z, one, one, z[:, 0, :0], at, expert.advance(first, None))
    asked = torch.tensor([[1.9, 2.5, 9.0]], dtype=torch.float64)
    resumed = expert.forecast(rest, asked, "left", state)
    torch.testing.assert_close(resumed.params, expert.forecast(whole, asked).params, rtol=1e-9, atol=1e-9)


def _forecasts(shares: tuple[float, ...], n_series: int, noise: float = 0.1) -> tuple[torch.Tensor, ...]:
    """Truth, filter, expert, series and group of values whose best mean has this share of the filter in each group."""
    rng, n = np.random.default_rng(0), 30 * n_series
    filtered, expert = rng.standard_normal((2, n))
    group = np.arange(n) % 3
    truth = expert + np.array(shares)[group] * (filtered - expert) + noise * rng.standard_normal(n)
    return tuple(map(torch.from_numpy, (truth, filtered, expert, np.repeat(np.arange(n_series), 30), group)))


@pytest.mark.parametrize("shares", [(0.0, 0.0, 0.0), (0.3, 0.5, 0.7), (0.9, 0.2, 0.5), (1.0, 1.0, 1.0)])
def test_the_shares_with_the_least_error_are_found(shares: tuple[float, ...]) -> None:
    found = shares_of_filter(*_forecasts(shares, 200))
    torch.testing.assert_close(found, torch.tensor(shares, dtype=torch.float64), rtol=0, atol=0.02)


def test_a_filter_that_is_good_enough_has_all_of_the_forecast() -> None:
    assert shares_of_filter(*_forecasts((0.97, 0.95, 0.99), 200, noise=5.0)).tolist() == [1.0, 1.0, 1.0]


def test_a_vague_gain_of_the_filter_counts_for_nothing() -> None:
    assert shares_of_filter(*_forecasts((0.5, 0.5, 0.5), 20, noise=60.0)).tolist() == [0.0, 0.0, 0.0]


def test_vague_shares_are_drawn_towards_that_of_all_leads() -> None:
    sharp, vague = (shares_of_filter(*_forecasts((0.9, 0.2, 0.5), 200, noise=noise)) for noise in (0.1, 8.0))
    assert float(vague.std()) < float(sharp.std())


def test_where_both_say_the_same_the_filter_is_left_alone() -> None:
    same = torch.ones(9, dtype=torch.float64)
    assert shares_of_filter(same + 1.0, same, same, torch.arange(9), torch.arange(9) % 3).tolist() == [1.0, 1.0, 1.0]

"""Combination of forecasts: straight lines between leads, what is missing, and far ahead."""

from __future__ import annotations

import pytest
import torch

from tsode.models.combination import LEVELS, Combination, stretched


def knots(*places: float, n: int = 4) -> torch.Tensor:
    """Members (m n 1 k) of the same shape at these medians."""
    z = torch.special.ndtri(torch.tensor(LEVELS, dtype=torch.float64))
    return torch.tensor(places, dtype=torch.float64)[:, None, None, None] + z.expand(len(places), n, 1, -1)


def two_members() -> Combination:
    """All weight on the first member up to a lead of .2, on the second from .8 on."""
    module = Combination(2, 1, 2)
    module.lead.copy_(torch.tensor([0.2, 0.8]))
    module.weight.copy_(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))
    return module


def test_weights_are_on_straight_lines_between_leads_and_constant_outside():
    lead = torch.tensor([0.0, 0.2, 0.5, 1.0], dtype=torch.float64)
    middle = two_members()(knots(0.0, 10.0), lead)[:, 0, LEVELS.index(0.5)]
    torch.testing.assert_close(middle, torch.tensor([0.0, 0.0, 5.0, 10.0], dtype=torch.float64))


def test_where_a_member_has_no_forecast_the_others_stand_in():
    given = knots(0.0, 10.0)
    given[0, 1] = torch.nan
    mixed = two_members()(given, torch.zeros(4, dtype=torch.float64))
    assert mixed[0, 0, LEVELS.index(0.5)] == 0.0
    assert mixed[1, 0, LEVELS.index(0.5)] == 10.0
    given[1, 1] = torch.nan
    assert two_members()(given, torch.zeros(4, dtype=torch.float64))[1].isnan().all()


def test_beyond_the_horizon_members_that_are_bounded_share_the_weight():
    module = two_members()
    module.is_bounded.copy_(torch.tensor([1.0, 0.0]))
    lead = torch.tensor([0.9, 1.0, 1.1, 1e6], dtype=torch.float64)
    middle = module(knots(0.0, 10.0), lead)[:, 0, LEVELS.index(0.5)]
    assert middle.tolist() == [10.0, 10.0, 0.0, 0.0]


def test_a_factor_of_the_spread_leaves_the_median():
    given = knots(3.0)[0, :, 0]
    wide = stretched(given, torch.full((4,), 0.5, dtype=torch.float64))
    around = given - 3.0
    torch.testing.assert_close(wide, 3.0 + around * torch.tensor(0.5).double().exp())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quantiles_stay_in_order_for_members_that_are(dtype):
    module = two_members().to(dtype)
    module.stretch.fill_(0.3)
    lead = torch.rand(4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert bool((module(knots(-1.0, 4.0), lead).diff(dim=-1) > 0.0).all())

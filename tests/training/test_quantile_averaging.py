"""Quantile averaging: what weights and factors are found where the right ones are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsode.likelihoods.quantile_knots import QuantileKnots
from tsode.training.quantile_averaging import Held, average, by_error, find_stretch, fit_weights, level_weights

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
Z = torch.special.ndtri(torch.tensor(LEVELS, dtype=torch.float64))


def held(errors: list[float], n: int = 2000, n_units: int = 200, spread: float = 1.0, seed: int = 0) -> Held:
    """Normal truth, and members whose medians are off by independent errors of these standard deviations."""
    draws = torch.Generator().manual_seed(seed)
    truth = torch.randn(n, generator=draws, dtype=torch.float64)
    off = torch.randn(len(errors), n, generator=draws, dtype=torch.float64) * torch.tensor(errors)[:, None]
    knots = (truth + off)[..., None] + spread * torch.tensor(errors)[:, None, None] * Z
    return Held(knots, truth, torch.arange(n) * n_units // n, LEVELS)


def test_the_better_member_has_nearly_all_weight_where_the_other_adds_nothing():
    good = held([0.5])
    bad = Held(torch.cat([good.knots, good.knots + 3.0]), good.truth, good.unit, LEVELS)
    weight = fit_weights(bad, torch.Generator().manual_seed(0))
    assert weight[0] == pytest.approx(1.0)


def test_members_with_independent_errors_of_one_size_share_the_weight():
    weight = fit_weights(held([0.5, 0.5, 0.5]), torch.Generator().manual_seed(0))
    assert (weight - 1.0 / 3.0).abs().max() < 0.07


def test_two_units_that_disagree_leave_weights_near_equal_though_each_is_sure():
    truth = torch.zeros(200, dtype=torch.float64)
    unit = torch.arange(200) // 100
    right, wrong = 0.1 * Z, 3.0 + 0.1 * Z
    first = torch.where((unit == 0)[:, None], right, wrong)
    second = torch.where((unit == 1)[:, None], right, wrong)
    weight = fit_weights(Held(torch.stack([first, second]), truth, unit, LEVELS), torch.Generator().manual_seed(0))
    assert 0.2 < weight[0] < 0.8


@pytest.mark.parametrize("spread", [0.5, 1.0, 1.6])
def test_the_factor_of_the_spread_undoes_one_that_is_wrong(spread):
    at_hand = held([0.5], n=4000, n_units=400, spread=spread)
    assert np.exp(find_stretch(at_hand.knots[0], at_hand)) == pytest.approx(1.0 / spread, rel=0.1)


def test_the_factor_of_the_spread_is_that_of_most_forecasts_though_a_few_are_a_hundred_times_as_wide():
    wide, others = held([50.0], n=400, n_units=40, spread=0.4), held([0.5], n=3600, n_units=360, spread=1.6)
    truth, unit = torch.cat([wide.truth, others.truth]), torch.cat([wide.unit, others.unit + 40])
    both = Held(torch.cat([wide.knots, others.knots], dim=1), truth, unit, LEVELS)
    assert np.exp(find_stretch(both.knots[0], both)) == pytest.approx(1.0 / 1.6, rel=0.25)


def test_channels_with_many_units_have_weights_of_their_own():
    one, two = held([0.3, 3.0], seed=1), held([3.0, 0.3], seed=2)
    both = Held(
        torch.cat([one.knots, two.knots], dim=1),
        torch.cat([one.truth, two.truth]),
        torch.cat([one.unit, two.unit + 200]),
        LEVELS,
    )
    channel = torch.arange(4000) // 2000
    weights, stretch = average(
        both, channel, torch.zeros(4000, dtype=torch.long), 2, 1, 400, 400, torch.Generator().manual_seed(0)
    )
    assert weights[0, 0, 0] > 0.85
    assert weights[1, 0, 1] > 0.85
    assert torch.equal(weights.sum(dim=2), torch.ones(2, 1, dtype=torch.float64)) or torch.allclose(
        weights.sum(dim=2), torch.ones(2, 1, dtype=torch.float64)
    )
    assert stretch.shape == (2, 1)


def test_weights_follow_neither_units_of_the_data_nor_the_global_seed():
    at_hand = held([0.5, 0.8])
    larger = Held(1024.0 * at_hand.knots, 1024.0 * at_hand.truth, at_hand.unit, LEVELS)
    torch.manual_seed(1)
    first = fit_weights(at_hand, torch.Generator().manual_seed(3))
    torch.manual_seed(2)
    assert torch.equal(first, fit_weights(larger, torch.Generator().manual_seed(3)))


def test_pinball_losses_with_level_weights_are_near_the_crps_in_closed_form():
    levels = torch.linspace(0.005, 0.995, 199, dtype=torch.float64)
    law = QuantileKnots(levels.tolist())
    knots, x = torch.special.ndtri(levels), torch.tensor(0.7, dtype=torch.float64)
    off = x - knots
    loss = (torch.maximum(levels * off, (levels - 1.0) * off) * level_weights(levels.tolist())).sum()
    assert float(loss) == pytest.approx(float(law.crps(law.from_quantiles(knots), x)), rel=5e-3)


def test_with_few_units_weights_go_by_the_error_and_with_many_by_what_averages_gain():
    at_hand = held([0.5, 0.9], n=600, n_units=3)
    none, one = (torch.zeros(600, dtype=torch.long) for _ in range(2))
    few, many = (
        average(at_hand, none, one, 1, 1, n_units, n_units, torch.Generator().manual_seed(0))[0][0, 0]
        for n_units in (1, 10**6)
    )
    prior, fitted = by_error(at_hand), fit_weights(at_hand, torch.Generator().manual_seed(0))
    assert prior[0] > 0.9
    torch.testing.assert_close(many, fitted, atol=1e-4, rtol=0)
    assert abs(float(few[0] - prior[0])) < abs(float(fitted[0] - prior[0]))


@pytest.mark.parametrize(("spread", "few", "many"), [(0.5, 2.0, 2.0), (2.0, 1.0, 0.5)])
def test_few_units_widen_a_spread_and_only_many_narrow_it(spread, few, many):
    at_hand = held([0.5], n=4000, n_units=400, spread=spread)
    none = torch.zeros(4000, dtype=torch.long)
    for n_apart, factor in ((1, few), (10**6, many)):
        _, stretch = average(at_hand, none, none, 1, 1, 400, n_apart, torch.Generator().manual_seed(0))
        assert float(stretch.exp()) == pytest.approx(factor, rel=0.1)


def test_values_that_count_for_more_decide():
    early, late = held([0.3, 3.0], seed=1), held([3.0, 0.3], seed=2)
    knots, truth = torch.cat([early.knots, late.knots], dim=1), torch.cat([early.truth, late.truth])
    unit, weight = (
        torch.cat([early.unit, late.unit + 200]),
        torch.cat([torch.full((2000,), w).double() for w in (0.01, 1.0)]),
    )
    both = Held(knots, truth, unit, LEVELS, weight)
    assert fit_weights(both, torch.Generator().manual_seed(0))[1] > 0.85
    assert by_error(both)[1] > 0.95

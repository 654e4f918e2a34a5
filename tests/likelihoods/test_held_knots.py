"""Laws by their quantiles between ends: nothing lies beyond these, and inside nothing changes."""

from __future__ import annotations

import pytest
import torch

from tsode.likelihoods.held_knots import HeldKnots
from tsode.likelihoods.quantile_knots import QuantileKnots

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
LAW = QuantileKnots(LEVELS)
KNOTS = torch.tensor([0.5, 1.0, 2.0, 4.0, 9.0], dtype=torch.float64)
P = torch.linspace(0.0001, 0.9999, 99, dtype=torch.float64)


def held(low: float, high: float, knots: torch.Tensor = KNOTS) -> tuple[HeldKnots, torch.Tensor]:
    ends = (torch.tensor(end, dtype=torch.float64) for end in (low, high))
    return HeldKnots.hold(LAW, knots, *ends)


def test_no_quantile_and_no_mean_leaves_the_support_and_knots_inside_stay():
    law, params = held(0.0, 10.0)
    quantiles = law.quantile(params, P)
    assert float(quantiles.min()) >= 0.0
    assert float(quantiles.max()) <= 10.0
    torch.testing.assert_close(law.quantile(params, torch.tensor(LEVELS, dtype=torch.float64)), KNOTS)
    law, params = held(0.0, 3.0)
    assert float(law.quantile(params, P).max()) == 3.0
    assert 0.0 < float(law.mean(params)) <= 3.0


def test_without_ends_it_is_the_law_of_its_knots():
    law, params = held(-torch.inf, torch.inf)
    plain = LAW.from_quantiles(KNOTS)
    x = torch.tensor(2.7, dtype=torch.float64)
    torch.testing.assert_close(law.quantile(params, P), LAW.quantile(plain, P))
    for name in ("log_prob", "cdf", "crps"):
        torch.testing.assert_close(getattr(law, name)(params, x), getattr(LAW, name)(plain, x))
    for name in ("mean", "variance"):
        torch.testing.assert_close(getattr(law, name)(params), getattr(LAW, name)(plain))


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e9])
def test_a_change_of_unit_changes_nothing_but_the_unit(unit):
    law, params = held(0.0, torch.inf)
    _, scaled = held(0.0, torch.inf, unit * KNOTS)
    torch.testing.assert_close(law.quantile(scaled, P) / unit, law.quantile(params, P))
    moved = law.affine(params, torch.tensor(0.0).double(), torch.tensor(unit).double())
    torch.testing.assert_close(law.quantile(moved, P) / unit, law.quantile(params, P))

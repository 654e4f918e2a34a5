from __future__ import annotations

import pytest
import torch

from tsode.inference.chains import bulk_ess, ess, rhat, tail_ess


def autoregression(rho: float, *size: int, seed: int = 0) -> torch.Tensor:
    e = torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = torch.zeros_like(e)
    x[..., 0] = e[..., 0]
    for t in range(1, size[-1]):
        x[..., t] = rho * x[..., t - 1] + (1.0 - rho**2) ** 0.5 * e[..., t]
    return x


@pytest.mark.parametrize("rho", [-0.3, 0.0, 0.5, 0.9])
def test_effective_draws_of_an_autoregression_are_the_known_number(rho):
    x = autoregression(rho, 40, 16, 1000)
    exact = 16_000 * (1.0 - rho) / (1.0 + rho)
    for found in (ess(x), bulk_ess(x)):
        # truncation of the sum of correlations biases by some per cent
        assert abs(float(found.mean()) / exact - 1.0) < 6.0 * float(found.std()) / exact / 40**0.5 + 0.06


def test_the_variance_of_means_is_what_effective_draws_promise():
    x = autoregression(0.7, 400, 4, 200)
    promised = float((1.0 / ess(x)).mean())
    seen = float(x.mean(dim=(-2, -1)).var())
    assert abs(seen / promised - 1.0) < 6.0 * (2.0 / 400) ** 0.5


def test_rhat_is_one_for_independent_draws_and_known_for_shifted_chains():
    x = autoregression(0.0, 20, 8, 1000)
    assert float(rhat(x).max()) < 1.01
    shifted = x.clone()
    shifted[:, 0] += 1.0
    # of unit variance, one chain in eight moved by one: between-chain variance 7 / 64 * 16 / 15 over half chains
    expected = (1.0 + 7.0 / 64.0 * 16.0 / 15.0) ** 0.5
    assert abs(float(rhat(shifted).mean()) - expected) < 0.02


def test_rhat_sees_chains_of_other_width_and_trends_within_chains():
    x = autoregression(0.0, 20, 8, 1000)
    wide, trend = x.clone(), x + torch.linspace(-1.0, 1.0, 1000, dtype=torch.float64)
    wide[:, 0] *= 3.0
    assert float(rhat(wide).min()) > 1.02
    assert float(rhat(trend).min()) > 1.05


def test_a_monotone_change_of_scale_changes_nothing():
    x = autoregression(0.5, 4, 8, 200)
    heavy = torch.sinh(3.0 * x)
    torch.testing.assert_close(bulk_ess(heavy), bulk_ess(x))
    torch.testing.assert_close(tail_ess(heavy), tail_ess(x))


def test_repeated_draws_count_once():
    x = autoregression(0.0, 10, 8, 250).repeat_interleave(4, dim=-1)
    assert abs(float(bulk_ess(x).mean()) / 2000.0 - 1.0) < 0.15

"""Simulated series against their known laws."""

from __future__ import annotations

import math

import pytest
import torch

from tsode.errors import UnknownNameError
from tsode.simulate import lotka_volterra, observe, ornstein_uhlenbeck

TIMES = torch.tensor([0.0, 0.3, 0.35, 2.0], dtype=torch.float64)
N = 20_000


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_an_ou_process_has_its_moments_whatever_the_gaps():
    paths = ornstein_uhlenbeck(TIMES, speed=0.8, mean=0.5, sigma=0.6, start=2.0, n_paths=N, generator=generator())
    keep = (-0.8 * TIMES).exp()
    variance = 0.36 / 1.6 * (1.0 - keep**2)
    assert paths[:, 0].tolist() == [2.0] * N
    error = 6.0 * (variance / N).sqrt()
    assert ((paths.mean(dim=0) - (0.5 + 1.5 * keep)).abs() <= error).all()
    # the variance of n normal draws has a standard error of sqrt(2 / n) of itself
    assert ((paths.var(dim=0) - variance).abs() <= 6.0 * math.sqrt(2.0 / N) * variance).all()
    covariance = torch.cov(paths[:, 1:3].T)[0, 1]
    exact = variance[1] * math.exp(-0.8 * 0.05)
    assert (covariance - exact).abs() < 6.0 * ((variance[1] * variance[2] + exact**2) / N) ** 0.5


def test_a_start_for_each_path_is_kept_and_the_scheme_is_checked():
    start = torch.tensor([1.0, 2.0])
    paths = ornstein_uhlenbeck(TIMES, speed=1.0, mean=0.0, sigma=1.0, start=start, n_paths=2, generator=generator())
    assert paths[:, 0].tolist() == [1.0, 2.0]
    with pytest.raises(UnknownNameError, match="'milstein' is not a known scheme"):
        ornstein_uhlenbeck(
            TIMES, speed=1.0, mean=0.0, sigma=1.0, start=0.0, n_paths=1, generator=generator(), scheme="milstein"
        )


def test_lotka_volterra_keeps_its_invariant():
    times = torch.linspace(0.0, 10.0, 21, dtype=torch.float64)
    rates = (1.1, 0.4, 0.9, 0.3)
    path = lotka_volterra(times, torch.tensor([[2.0, 1.0], [4.0, 3.0]]), rates)
    prey, predator = path.unbind(-1)
    invariant = rates[3] * prey - rates[2] * prey.log() + rates[1] * predator - rates[0] * predator.log()
    torch.testing.assert_close(invariant, invariant[:, :1].expand_as(invariant), rtol=1e-6, atol=1e-6)


def test_values_are_seen_with_their_probability_and_noise():
    paths = torch.zeros(200, 100, dtype=torch.float64)
    seen = observe(paths, 0.3, generator(), noise=0.5)
    share = 1.0 - seen.isnan().double().mean().item()
    assert share == pytest.approx(0.3, abs=6.0 * (0.21 / N) ** 0.5)
    values = seen[~seen.isnan()]
    assert values.std().item() == pytest.approx(0.5, rel=6.0 * (0.5 / len(values)) ** 0.5)
    assert (observe(paths, 1.0, generator()) == 0.0).all()

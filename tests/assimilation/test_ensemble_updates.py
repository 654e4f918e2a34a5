"""Serial updates of ensembles beside closed forms."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from tsode.jumps.ensemble_updates import perturbed_update, regression, sample_moments, square_root_update

NOTES = {10: 0.360, 100: 0.104, 1000: 0.032, 10000: 0.010}  # sd of the mean of the scalar case over 400 repeats


def exact(n_rows: int, m: int, d: int, seed: int = 0) -> Tensor:
    """Ensembles (r m d) with mean zero and the identity as sample covariance."""
    raw = torch.randn(n_rows, m, d + 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    raw[..., 0] = 1.0
    return torch.linalg.qr(raw).Q[..., 1:] * math.sqrt(m - 1)


def normal_posterior(predicted: Tensor, value: float, variance: float) -> tuple[Tensor, Tensor]:
    mean, var = sample_moments(predicted)
    return mean + var / (var + variance) * (value - mean), var * variance / (var + variance)


def test_square_root_update_of_the_scalar_case_is_exact():
    members = 1.0 + 2.0 * exact(1, 10, 1)
    after = square_root_update(members, members[..., 0], *normal_posterior(members[..., 0], 3.0, 1.0))
    mean, var = sample_moments(after[..., 0])
    assert abs(mean.item() - 2.6) < 1e-12
    assert abs(var.item() - 0.8) < 1e-12


def test_perturbed_observations_approach_the_scalar_case_with_the_square_root_of_the_members():
    generator, n_repeats, sizes = torch.Generator().manual_seed(1), 400, list(NOTES)
    found = []
    for m in sizes:
        start = 1.0 + 2.0 * torch.randn(n_repeats, m, 1, dtype=torch.float64, generator=generator)
        noise = torch.randn(n_repeats, m, dtype=torch.float64, generator=generator)
        after = perturbed_update(start, start[..., 0], *normal_posterior(start[..., 0], 3.0, 1.0), noise)
        found.append((after.mean(dim=1) - 2.6).square().mean().sqrt().item())
    slope = np.polyfit(np.log(sizes), np.log(found), 1)[0]
    assert abs(slope + 0.5) < 0.1
    for value, m in zip(found, sizes):  # the error of a sd over 400 repeats is a share of 1 / sqrt(800): six of them
        assert abs(value / NOTES[m] - 1.0) < 6.0 * math.sqrt(2.0 / 800.0) + 0.05, (m, value)


def test_both_updates_have_the_covariance_of_kalman():
    generator = torch.Generator().manual_seed(2)
    m, d = 200_000, 3
    root = torch.randn(d, d, dtype=torch.float64, generator=generator)
    members = exact(1, m, d) @ root.mT
    weights, value, variance = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), 1.5, 0.7
    predicted = members @ weights
    cov = root @ root.mT
    gain = cov @ weights / (weights @ cov @ weights + variance)
    truth_mean, truth_cov = gain * value, cov - torch.outer(gain, weights @ cov)
    posterior = normal_posterior(predicted, value, variance)
    after = square_root_update(members, predicted, *posterior)[0]
    torch.testing.assert_close(after.mean(dim=0), truth_mean, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(torch.cov(after.mT), truth_cov, rtol=1e-10, atol=1e-10)
    noise = torch.randn(1, m, dtype=torch.float64, generator=generator)
    after = perturbed_update(members, predicted, *posterior, noise - noise.mean())[0]
    torch.testing.assert_close(after.mean(dim=0), truth_mean, rtol=1e-10, atol=1e-10)
    size = truth_cov.diagonal().max().item() + cov.diagonal().max().item()
    torch.testing.assert_close(torch.cov(after.mT), truth_cov, rtol=0, atol=6 * size * math.sqrt(2 / m))


def test_an_update_keeps_what_is_not_seen_of_a_tiny_noise():
    members = 1e3 * exact(1, 50, 2)
    after = square_root_update(members, members[..., 0], *normal_posterior(members[..., 0], 0.3, 1e-12))
    mean, var = sample_moments(after[..., 0])
    assert abs(mean.item() - 0.3) < 1e-12
    assert abs(var.item() / 1e-12 - 1) < 1e-6
    torch.testing.assert_close(after[..., 1], members[..., 1], rtol=1e-12, atol=1e-9)


def test_a_prediction_without_spread_moves_nothing():
    members = exact(2, 8, 2)
    flat = torch.full((2, 8), 3.0, dtype=torch.float64)
    mean, var = torch.full((2,), 4.0, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    assert (regression(members, torch.zeros_like(flat)) == 0).all()
    torch.testing.assert_close(square_root_update(members, flat, mean, var), members, rtol=0, atol=1e-15)
    torch.testing.assert_close(perturbed_update(members, flat, mean, var, flat), members, rtol=0, atol=1e-15)


def test_a_wider_posterior_widens_the_ensemble_of_perturbed_observations():
    members = exact(1, 20, 1)
    mean, var = torch.tensor([1.0], dtype=torch.float64), torch.tensor([4.0], dtype=torch.float64)
    after = perturbed_update(members, members[..., 0], mean, var, torch.full((1, 20), 9.0, dtype=torch.float64))
    found = sample_moments(after[..., 0])
    torch.testing.assert_close(found[0], mean)
    torch.testing.assert_close(found[1], var)


def test_a_taper_of_zero_leaves_a_state():
    members = exact(1, 20, 2)
    taper = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    predicted = members.sum(dim=2)
    after = square_root_update(members, predicted, *normal_posterior(predicted, 1.0, 1.0), taper)
    torch.testing.assert_close(after[..., 1], members[..., 1], rtol=0, atol=1e-15)
    assert (after[..., 0] != members[..., 0]).any()

"""Expected information about the structure against brute force."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import multivariate_normal, norm, poisson

from tsode.likelihoods.normal import Normal
from tsode.likelihoods.poisson import Poisson
from tsode.structures.information import expected_information

N, K = 2048, 1024


def even(n):
    """Standard normals that are spread evenly, in random order."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(n))
    return torch.special.ndtri((order.double() + 0.5) / n)


def test_it_is_the_mutual_information_of_normal_predictions():
    """Means m and spreads s of the parameters, noise of .5: each predictive law is normal."""
    means, spreads, weights, sd = [0.0, 1.0, -0.5], [0.3, 0.8, 0.1], np.array([0.5, 0.3, 0.2]), 0.5
    y = np.linspace(-8, 8, 40_001)
    laws = np.stack([norm(m, np.hypot(s, sd)).pdf(y) for m, s in zip(means, spreads)])
    mixed = weights @ laws
    truth = sum(w * np.trapezoid(p * np.log((p + 1e-300) / mixed), y) for w, p in zip(weights, laws))
    params = []
    for m, s in zip(means, spreads):
        location = m + s * even(K)
        params.append([torch.stack([location, torch.full_like(location, np.log(sd))], -1)[None]])
    found, se = expected_information([Normal()], params, torch.from_numpy(weights), N, torch.Generator().manual_seed(0))
    assert float(se) < 0.01
    assert abs(float(found) - truth) <= 6.0 * float(se)


def test_it_is_that_of_counts():
    rates, weights = [2.0, 5.0], np.array([0.25, 0.75])
    y = np.arange(60)
    laws = np.stack([poisson(r).pmf(y) for r in rates])
    mixed = weights @ laws
    truth = sum(w * (p * np.log(np.maximum(p, 1e-300) / mixed)).sum() for w, p in zip(weights, laws))
    family = Poisson()
    params = [[family.from_moments(torch.tensor([[r] * 8]).double(), torch.ones(1, 8).double())] for r in rates]
    found, se = expected_information([family], params, torch.from_numpy(weights), N, torch.Generator().manual_seed(1))
    assert abs(float(found) - truth) <= 6.0 * float(se)


def test_channels_that_are_seen_together_tell_as_much_as_their_joint_law():
    """Two channels with one mean between them: a normal law in two dimensions, on a grid."""
    sd, weights = 0.5, np.array([0.4, 0.6])
    grid = np.linspace(-5, 5, 401)
    a, b = np.meshgrid(grid, grid, indexing="ij")
    at = np.stack([a, b], -1)
    laws = []
    for m, s in ((0.0, 0.6), (0.8, 0.2)):
        laws.append(multivariate_normal([m, m], s**2 + sd**2 * np.eye(2)).pdf(at))
    mixed = weights[0] * laws[0] + weights[1] * laws[1]
    cell = (grid[1] - grid[0]) ** 2
    truth = sum(w * (p * np.log((p + 1e-300) / (mixed + 1e-300))).sum() * cell for w, p in zip(weights, laws))
    params = []
    for m, s in ((0.0, 0.6), (0.8, 0.2)):
        location = m + s * even(K)
        law = torch.stack([location, torch.full_like(location, np.log(sd))], -1)[None]
        params.append([law, law])
    found, se = expected_information(
        [Normal(), Normal()], params, torch.from_numpy(weights), N, torch.Generator().manual_seed(2)
    )
    assert abs(float(found) - truth) <= 6.0 * float(se)


def test_structures_that_predict_the_same_tell_nothing():
    law = torch.stack([even(K), torch.zeros(K, dtype=torch.float64)], -1)[None]
    other = torch.stack([even(K - 1)[: K - 2], torch.zeros(K - 2, dtype=torch.float64)], -1)[None]
    found, _ = expected_information(
        [Normal()], [[law], [other]], torch.tensor([0.5, 0.5]).double(), N, torch.Generator().manual_seed(3)
    )
    assert abs(float(found)) < 1e-3

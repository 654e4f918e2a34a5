"""Scales of residuals: evidence against a dense normal law, and shrinkage where nothing is needed and only there."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.inference.known_examples import observations
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.neural_term import NeuralTerm
from tsode.inference.noise import AdditiveNoise
from tsode.inference.priors import LogNormal
from tsode.inference.residual_scales import Bell, best_factors, with_found_scales
from tsode.inference.settings import Settings

FEW = Settings(n_prior=256, n_starts=4)
N, P, NOISE = 40, 6, 0.3


def linear(size: float, seed: int) -> tuple[torch.Tensor, torch.Tensor, Bell]:
    """Features (n p), values of a sum of them with weights of a `size`, and the law of weights with unit priors."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(N, P, generator=generator, dtype=torch.float64)
    weights = size * torch.randn(P, generator=generator, dtype=torch.float64)
    values = features @ weights + NOISE * torch.randn(N, generator=generator, dtype=torch.float64)
    precision = torch.eye(P, dtype=torch.float64) + features.mT @ features / NOISE**2
    point = torch.linalg.solve(precision, features.mT @ values / NOISE**2)
    return features, values, Bell(point[None], precision[None])


def test_the_evidence_of_a_linear_model_is_that_of_its_dense_normal_law():
    features, values, bell = linear(0.5, 0)
    factor = torch.tensor([0.1, 0.1, 0.1, 2.0, 2.0, 0.7], dtype=torch.float64)

    def dense(sd):
        covariance = NOISE**2 * torch.eye(N, dtype=torch.float64) + (features * sd**2) @ features.mT
        return torch.distributions.MultivariateNormal(torch.zeros(N).double(), covariance).log_prob(values)

    expected = dense(factor) - dense(torch.ones(P).double())
    torch.testing.assert_close(bell.log_evidence(factor), expected, rtol=1e-9, atol=1e-9)
    mode = torch.linalg.solve((factor**-2).diag() + features.mT @ features / NOISE**2, features.mT @ values / NOISE**2)
    torch.testing.assert_close(bell.with_prior(factor)[0][0], mode, rtol=1e-9, atol=1e-9)


def test_a_scale_goes_to_what_data_can_just_not_see_where_nothing_is_there_and_to_the_truth_where_something_is():
    everything = torch.ones(1, P, dtype=torch.float64)
    none = torch.zeros(1, dtype=torch.float64)
    unseen = NOISE / math.sqrt(N)  # the sd of a weight by these data
    idle = [float(best_factors(linear(0.0, seed)[2], everything, none).exp()) for seed in range(20)]
    assert max(idle) < 3.0 * unseen
    assert min(idle) > 0.1 * unseen
    for size in (0.3, 3.0):
        found = [float(best_factors(linear(size, seed)[2], everything, none)) for seed in range(20)]
        # six weights tell of a log scale with an sd of sqrt(1 / 12); six standard errors of the mean of 20
        assert np.mean(found) == pytest.approx(math.log(size), abs=6 * math.sqrt(1 / 12 / 20))


def test_data_that_say_nothing_leave_a_scale_where_it_was():
    bell = Bell(torch.zeros(1, P).double(), torch.eye(P)[None].double())
    assert float(best_factors(bell, torch.ones(1, P).double(), torch.zeros(1).double())) == pytest.approx(0.0, abs=1e-9)


def decay(inflow: float, seed: int) -> KnownDensity:
    """z' = -k z, of data with an inflow, and a residual."""
    times = np.linspace(0.25, 6.0, 24)
    level = 2.0 * inflow + (10.0 - 2.0 * inflow) * np.exp(-0.5 * times)
    noise = 0.1 * np.random.default_rng(seed).standard_normal(len(times))
    system = KnownSystem(
        lambda t, z, p: -p.k[:, None] * z, ["z"], {"k": LogNormal(math.log(0.5), 0.2)}, {"z": 10.0},
        {"x": AdditiveNoise("z", sd=0.1)}, residual={"z": NeuralTerm("more", [10.0], 1.0, n_hidden=8)},
    )  # fmt: skip
    return KnownDensity(system, observations(times, (level + noise)[:, None]))


@pytest.mark.slow
def test_a_residual_shrinks_beside_complete_equations_and_not_beside_others():
    scales = []
    for inflow in (0.0, 1.0):
        density = decay(inflow, 10)
        scales.append(with_found_scales(density, 0, FEW).system.residual["z"].scale)
        assert density.system.residual["z"].scale == 1.0
    assert scales[0] < 0.5 * scales[1]
    assert scales[0] < 0.5


def test_without_a_residual_a_density_stays_what_it_is():
    density = decay(0.0, 10)
    plain = KnownDensity(replace(density.system, residual={}), density.data)
    assert with_found_scales(plain, 0, FEW) is plain

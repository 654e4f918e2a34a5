"""Particle filters and smoothers beside sums over a grid, and that grid beside a matrix exponential."""

from __future__ import annotations

import math

import pytest
import torch

from tests.assimilation.grid import filter_on_grid, generator
from tests.assimilation.on_grid_cases import CASES
from tests.assimilation.test_particle import assert_one_in_the_mean
from tsode.assimilation.filters.guided import GuidedFilter
from tsode.assimilation.filters.particle import ParticleFilter


@pytest.mark.parametrize("name", ["double well, itself", "double well, its square"])
def test_grid_in_short_steps_is_the_exponential_of_the_generator(name):
    case = CASES[name]
    values = case.data()
    axis = torch.linspace(*case.limits, 501, dtype=torch.float64)
    carry = torch.linalg.matrix_exp(generator(case.motion._drift, case.noise, axis) * case.gap)
    weight = (-0.5 * ((axis - case.start[0]) / case.start[1]) ** 2).exp()
    weight, total = weight / weight.sum(), 0.0
    for value in values[:, 0]:
        weight = carry @ weight
        if value.isfinite():
            seen = case.channels[0].seen(value[None])
            weight = weight * seen.log_prob(seen.predict(axis[None, :, None]))[0].exp()
            total += float(weight.sum().log())
            weight = weight / weight.sum()
    errors = [case.by_grid(values, step).log_prob - total for step in (0.05, 0.025)]
    assert abs(errors[1]) < 0.01
    assert abs(errors[1]) < abs(errors[0]) / 2


def test_grid_is_kalman_on_a_linear_equation():
    times = torch.tensor([1.0, 2.0], dtype=torch.float64)
    found = filter_on_grid(
        lambda z: -0.5 * z,
        torch.ones(1).double(),
        [torch.linspace(-8, 8, 401, dtype=torch.float64)],
        (torch.zeros(1).double(), torch.ones(1).double()),
        times,
        lambda n, z: -0.5 * (z[:, 0] - 1.0) ** 2 - 0.5 * math.log(2 * math.pi),
        0.01,
    )
    # variance stays 1: the start is stationary; prior, posterior, and so on by hand
    phi = math.exp(-0.5)
    prior, mean, total = 1.0, 0.0, 0.0
    for _ in times:
        total += -0.5 * ((1.0 - mean) ** 2 / (prior + 1.0) + math.log(2 * math.pi * (prior + 1.0)))
        gain = prior / (prior + 1.0)
        filtered = mean + gain * (1.0 - mean)
        mean, prior = phi * filtered, phi**2 * (1 - gain) * prior + 1 - phi**2
    assert abs(found.log_prob - total) < 1e-4
    assert abs(float(found.filtered[-1, 0]) - filtered) < 1e-4
    assert abs(float(found.smoothed[-1, 0]) - filtered) < 1e-4


PLANE = pytest.param("log prey and predators", marks=pytest.mark.slow)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["double well, itself", "double well, its square", PLANE])
@pytest.mark.parametrize("filter", [ParticleFilter(150), GuidedFilter(80)], ids=["bootstrap", "guided"])
def test_likelihood_in_equal_steps_is_the_grid_s_in_the_mean(name, filter):
    case = CASES[name]
    values = case.data()
    truth = case.by_grid(values, case.gap / 4).log_prob
    log_prob, _ = case.by_particles(values, filter, 80, 4)
    assert_one_in_the_mean(log_prob - truth)
    assert log_prob.std() < 1.3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["double well, itself", "double well, its square", "log prey and predators"])
def test_smoothed_means_are_the_grid_s_within_a_twentieth(name):
    case = CASES[name]
    values = case.data()
    truth = case.by_grid(values, case.gap / 4).smoothed
    _, means = case.by_particles(values, GuidedFilter(800), 25, 4, 50)
    se = means.std(dim=0) / math.sqrt(25)
    error = means.mean(dim=0) - truth
    assert (error.abs() < 0.05).all()
    assert (error.abs() < 4.5 * se + 0.01).all()

from __future__ import annotations

import math

import pytest
import torch

from tests.inference.densities import Decay, Normal, Written, log_normal_density, product_of_rates, two_modes
from tests.inference.test_density import evaluator_of
from tsode.inference.ascent import climb
from tsode.inference.engines.laplace import answer_by_laplace
from tsode.inference.engines.mode import choose_starts, find_modes
from tsode.inference.settings import Settings


@pytest.mark.parametrize("p", [1, 8, 30])
def test_the_mode_of_a_normal_law_its_width_and_its_mass_are_exact_in_few_calls(p):
    density = Normal(p, 0.9 if p > 1 else 0.0, problems=(0, 3))
    evaluator = evaluator_of(density)
    modes = find_modes(evaluator, Settings())
    torch.testing.assert_close(modes.point[:, 0], density.mean, rtol=0, atol=1e-8)
    torch.testing.assert_close(modes.covariance[:, 0], density.covariance.expand(2, p, p), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(modes.log_mass[:, 0], torch.tensor([0.0, 3.0], dtype=torch.float64), rtol=0, atol=1e-6)
    assert modes.n_starts.tolist() == [[32], [32]]
    assert evaluator.effort.n_slope_calls <= 8


def test_laplace_draws_of_a_normal_law_have_its_moments():
    density = Normal(8, 0.9)
    evaluator = evaluator_of(density)
    answer = answer_by_laplace(evaluator, find_modes(evaluator, Settings()), Settings())
    # 4096 draws, more even than independent ones
    torch.testing.assert_close(answer.mean, density.mean, rtol=0, atol=6.0 / 64)
    torch.testing.assert_close(answer.covariance[0], density.covariance, rtol=0, atol=6.0 * 2**0.5 / 64)
    torch.testing.assert_close(answer.log_evidence, torch.zeros(1, dtype=torch.float64), rtol=0, atol=1e-6)


def test_both_of_two_modes_are_found_with_their_masses_and_starts():
    evaluator = evaluator_of(two_modes(8, apart=10.0, weight=0.3))
    modes = find_modes(evaluator, Settings())
    assert modes.point.shape[1] == 2
    torch.testing.assert_close(modes.point[0, :, 0], torch.tensor([-5.0, 5.0], dtype=torch.float64), rtol=1e-6, atol=0)
    torch.testing.assert_close(modes.weight[0], torch.tensor([0.7, 0.3], dtype=torch.float64), rtol=1e-4, atol=0)
    assert int(modes.n_starts.sum() + modes.n_unfinished.sum()) == 32
    assert (modes.n_starts > 0).all()


def test_a_climb_ends_where_values_with_and_without_derivatives_differ_by_the_grain_of_a_solver():
    def log_prob(u):
        return -0.5 * u.square().sum(dim=-1) + (0.0 if u.requires_grad else 1e-4)

    start = torch.tensor([[[1.0, 2.0], [-2.0, 0.5]]], dtype=torch.float64)
    evaluator = evaluator_of(Written(log_prob, ("a", "b")))
    found = climb(evaluator, start, evaluator.value(start), torch.ones(1, 2, dtype=torch.float64))
    assert found.is_done.any()
    assert evaluator.effort.n_slope_calls <= 8


def test_a_saddle_is_left_to_both_sides():
    def log_prob(u):  # a saddle at the origin, where all starts are; modes at +-1
        return -((u[..., 0] ** 2 - 1.0) ** 2) - u[..., 1] ** 2

    start = torch.tensor([[[1e-9, 1e-9], [0.0, 0.5]]], dtype=torch.float64)
    evaluator = evaluator_of(Written(log_prob, ("a", "b")))
    found = climb(evaluator, start, evaluator.value(start), torch.ones(1, 2, dtype=torch.float64))
    assert found.is_done.any()
    expected = torch.tensor([1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(found.point[found.is_done].abs()[0], expected, rtol=0, atol=1e-3)


def test_rosenbrocks_valley_is_followed_to_its_end():
    def log_prob(u):
        return -100.0 * (u[..., 1] - u[..., 0] ** 2) ** 2 - (1.0 - u[..., 0]) ** 2

    evaluator = evaluator_of(Written(log_prob, ("a", "b"), scale=3.0))
    modes = find_modes(evaluator, Settings(n_prior=64, n_starts=8))
    assert bool(modes.is_found[0])
    torch.testing.assert_close(modes.point[0, 0], torch.ones(2, dtype=torch.float64), rtol=0, atol=2e-3)


def test_a_direction_without_curvature_gets_a_width_of_the_priors_and_says_so():
    density = Written(lambda u: log_normal_density(u[..., 0] + u[..., 1], 0.0, 0.1), ("a", "b"), scale=2.0)
    modes = find_modes(evaluator_of(density), Settings())
    assert bool(modes.is_repaired[0, 0])
    assert math.isclose(float(torch.linalg.eigvalsh(modes.covariance[0, 0])[-1]) ** 0.5, 3.0 * 2.0, rel_tol=0.1)
    assert not find_modes(evaluator_of(product_of_rates()), Settings()).is_repaired.any()


def test_modes_stand_where_a_failure_is_near():
    def log_prob(u):
        return (-0.5 * (u**2).sum(-1) / 0.01).where(u[..., 0] < 0.02, torch.inf)

    modes = find_modes(evaluator_of(Written(log_prob, ("a", "b"))), Settings())
    torch.testing.assert_close(modes.point[0, 0], torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-3)
    torch.testing.assert_close(modes.covariance[0, 0], 0.01 * torch.eye(2, dtype=torch.float64), rtol=0.01, atol=1e-5)


def test_scattered_starts_reach_what_the_best_alone_do_not():
    draws = torch.cat([torch.randn(1, 900, 2), 20.0 + torch.randn(1, 20, 2)], dim=1).double()
    value = torch.cat([torch.zeros(1, 900), torch.full((1, 20), -5.0)], dim=1).double()
    starts = draws.gather(1, choose_starts(draws, value, n_starts=128)[..., None].expand(-1, -1, draws.shape[2]))
    assert (starts[0, :, 0] > 10.0).any()
    assert not (draws[0, choose_starts(draws, value, n_starts=2)[0], 0] > 10.0).any()


def test_modes_do_not_depend_on_the_other_problems():
    values = Decay().values + torch.tensor([[0.0], [0.4], [-0.3]], dtype=torch.float64)
    together = find_modes(evaluator_of(Decay(values)), Settings())
    for k in range(3):
        alone = find_modes(evaluator_of(Decay(values[k : k + 1])), Settings())
        torch.testing.assert_close(together.point[k, :1], alone.point[0, :1], rtol=1e-10, atol=1e-12)

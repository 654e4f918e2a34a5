from __future__ import annotations

import math

import pytest
import torch

from tsode.inference.loo import leave_one_out
from tsode.inference.pareto import pareto_shape, smooth_weights


def pareto_draws(shape: float, scale: float, *size: int) -> torch.Tensor:
    u = torch.rand(*size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return scale * (u**-shape - 1.0) / shape


@pytest.mark.parametrize("shape", [-0.3, 0.01, 0.3, 0.7, 1.2])
def test_shape_and_scale_of_pareto_draws_are_found(shape):
    found, scale = pareto_shape(pareto_draws(shape, 2.0, 400, 1000).sort(dim=-1).values)
    # the estimate's bias is of order 1 / n; the standard error of the mean is measured
    assert abs(float(found.mean()) - shape) < 6.0 * float(found.std()) / 20.0 + 0.01
    assert abs(float(scale.mean()) / 2.0 - 1.0) < 6.0 * float(scale.std()) / 40.0 + 0.01


@pytest.mark.parametrize("shape", [0.3, 0.9])
def test_k_of_weights_is_the_shape_of_their_tail_drawn_to_one_half(shape):
    weights = pareto_draws(shape, 1.0, 200, 4000)
    n_tail = 3.0 * math.sqrt(4000)
    _, k = smooth_weights(weights.log())
    expected = (n_tail * shape + 5.0) / (n_tail + 10.0)
    assert abs(float(k.mean()) - expected) < 6.0 * float(k.std()) / 200**0.5 + 0.02


def test_smoothed_weights_sum_to_one_keep_their_order_and_do_not_depend_on_the_scale():
    log_weights = pareto_draws(0.8, 1.0, 3, 1000).log()
    smoothed, k = smooth_weights(log_weights)
    torch.testing.assert_close(smoothed.exp().sum(-1), torch.ones(3, dtype=torch.float64), rtol=1e-12, atol=0)
    by_size = smoothed.gather(-1, log_weights.argsort(dim=-1))
    assert (by_size.diff(dim=-1) >= 0).all()
    again, k_again = smooth_weights(log_weights + 1234.5)
    torch.testing.assert_close(again, smoothed, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(k_again, k, rtol=1e-8, atol=1e-8)


def test_equal_weights_stay_equal_and_failures_keep_no_weight():
    smoothed, k = smooth_weights(torch.zeros(2, 100, dtype=torch.float64))
    torch.testing.assert_close(smoothed.exp(), torch.full((2, 100), 0.01, dtype=torch.float64))
    assert (k == -torch.inf).all()
    log_weights = pareto_draws(0.3, 1.0, 1000).log()
    log_weights[::3] = -torch.inf
    smoothed, k = smooth_weights(log_weights)
    assert (smoothed[::3] == -torch.inf).all()
    assert k.isfinite()


def test_too_few_weights_are_told_by_an_infinite_k_and_none_makes_no_nan():
    log_weights = torch.full((2, 1000), -torch.inf, dtype=torch.float64)
    log_weights[0, :20] = 0.0
    smoothed, k = smooth_weights(log_weights)
    assert (k == torch.inf).all()
    assert not smoothed.isnan().any()
    torch.testing.assert_close(smoothed.exp().sum(-1), torch.ones(2, dtype=torch.float64))


def test_a_group_that_is_left_out_is_left_out_by_its_joint_density():
    log_likelihood = torch.randn(500, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    pairs = leave_one_out(log_likelihood, torch.tensor([0, 0, 1, 1]))
    joint = torch.stack([log_likelihood[:, :2].sum(1), log_likelihood[:, 2:].sum(1)], dim=1)
    torch.testing.assert_close(pairs.pointwise, leave_one_out(joint).pointwise)
    assert pairs.pointwise.shape == (2,)
    assert pairs.elpd == pairs.pointwise.sum()


def test_a_value_that_moves_the_posterior_far_has_a_high_k():
    # theta ~ N(0, 1) given all; without the second value it would be N(4, 1.4): the ratio has no variance
    theta = torch.randn(2000, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    log_likelihood = torch.stack([-0.01 * theta**2, -1.5 * (theta + 3.0) ** 2], dim=1)
    found = leave_one_out(log_likelihood)
    assert found.is_reliable.tolist() == [True, False]

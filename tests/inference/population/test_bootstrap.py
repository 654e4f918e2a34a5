"""Bootstrap of populations against closed forms."""

from __future__ import annotations

import numpy as np
import torch

from tests.inference.population.normal_samples import VALUES, estimate_of, natural, normal_sample
from tsode.inference.population.bootstrap import bootstrap, draw_weights

N = len(VALUES)


def test_of_a_mean_each_replicate_is_the_mean_of_what_was_drawn_and_its_error_is_the_sandwich():
    density = normal_sample(omega=0.8)
    estimate = estimate_of(density)
    weights = draw_weights(400, [0] * N, 0)
    found = bootstrap(density, estimate, weights)
    means = natural(density, "a", found.theta[:, 0])
    assert bool(found.is_done.all())
    np.testing.assert_allclose(means, weights.numpy() @ VALUES / N, atol=1e-6)
    closed = VALUES.std() / np.sqrt(N)
    # the standard deviation of 400 normal numbers is off by 1 / sqrt(800) of itself, six of which are .21
    assert abs(means.std() / closed - 1.0) < 0.21
    width = density.joint.space.priors["a"].width
    np.testing.assert_allclose(width * float(estimate.sandwich[0, 0].sqrt()), closed, rtol=1e-4)


def test_a_data_set_that_is_the_original_leaves_the_estimate_where_it_is():
    density = normal_sample()
    estimate = estimate_of(density)
    found = bootstrap(density, estimate, torch.ones(1, N, dtype=torch.float64))
    torch.testing.assert_close(found.theta[0], estimate.theta, rtol=0.0, atol=1e-4)


def test_weights_are_the_fit_of_a_data_set_with_its_series_repeated():
    weights = draw_weights(1, [0] * N, 3)
    found = bootstrap(normal_sample(), estimate_of(normal_sample()), weights)
    repeated = normal_sample(np.repeat(VALUES, weights[0].long().numpy()))
    torch.testing.assert_close(found.theta[0], estimate_of(repeated).theta, rtol=0.0, atol=1e-2)


def test_strata_keep_their_sizes_and_fewer_data_sets_are_the_first_of_more():
    strata = ["a"] * 3 + ["b"] * 7
    weights = draw_weights(50, strata, 1)
    assert (weights[:, :3].sum(dim=1) == 3).all()
    assert (weights[:, 3:].sum(dim=1) == 7).all()
    assert torch.equal(weights[:10], draw_weights(10, strata, 1))
    assert len(weights.unique(dim=0)) == 50

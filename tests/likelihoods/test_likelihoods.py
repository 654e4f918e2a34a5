"""Likelihoods against SciPy, against each other and at their edges; `check_likelihood` runs on all of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import scoringrules
import torch

from tsode.likelihoods import LIKELIHOODS, Laplace, Normal, NormalMixture, StudentT
from tsode.training.objective import masked_mean

ALL = pytest.mark.parametrize("family", [made() for made in LIKELIHOODS.values()], ids=list(LIKELIHOODS))
PARAMS = torch.tensor([[0.3, -0.4], [2.0, 1.1], [-50.0, 3.0]], dtype=torch.float64)
X = torch.tensor([0.1, 4.0, -20.0], dtype=torch.float64)


def own(family, params):
    """Parameters of the family with these locations and log scales; for a mixture, of components side by side."""
    if not isinstance(family, NormalMixture):
        return params
    k = family.n_components
    apart = torch.arange(k, dtype=params.dtype) - (k - 1) / 2
    parts = [params[..., :1] + apart * params[..., 1:].exp(), params[..., 1:].expand(*params.shape[:-1], k)]
    return torch.cat([*parts, 0.5 * apart.abs().expand_as(parts[0])], dim=-1)


@pytest.mark.parametrize(
    ("family", "law"),
    [
        (Laplace(), scipy.stats.laplace),
        (Normal(), scipy.stats.norm),
        (StudentT(), lambda loc, scale: scipy.stats.t(4, loc, scale)),
    ],
)
def test_densities_are_those_of_scipy(family, law):
    frozen = law(loc=PARAMS[:, 0].numpy(), scale=PARAMS[:, 1].exp().numpy())
    for name, ours in (("logpdf", family.log_prob), ("cdf", family.cdf)):
        torch.testing.assert_close(
            ours(PARAMS, X), torch.from_numpy(getattr(frozen, name)(X.numpy())), rtol=1e-12, atol=0
        )
    torch.testing.assert_close(family.variance(PARAMS), torch.from_numpy(frozen.var()), rtol=1e-12, atol=0)
    for p in (1e-9, 0.05, 0.5, 0.999):
        mine = family.quantile(PARAMS, torch.tensor(p, dtype=torch.float64))
        torch.testing.assert_close(mine, torch.from_numpy(frozen.ppf(p)), rtol=1e-7, atol=1e-9)


def test_the_crps_is_that_of_scoringrules():
    location, scale = PARAMS[:, 0].numpy(), PARAMS[:, 1].exp().numpy()
    theirs = torch.from_numpy(scoringrules.crps_normal(X.numpy(), location, scale))
    torch.testing.assert_close(Normal().crps(PARAMS, X), theirs, rtol=1e-10, atol=0)
    theirs = torch.from_numpy(scoringrules.crps_laplace(X.numpy(), location, scale))
    torch.testing.assert_close(Laplace().crps(PARAMS, X), theirs, rtol=1e-10, atol=0)
    theirs = torch.from_numpy(scoringrules.crps_t(X.numpy(), 4.0, location, scale))
    torch.testing.assert_close(StudentT().crps(PARAMS, X), theirs, rtol=1e-9, atol=0)


@ALL
def test_the_mean_pinball_loss_tends_to_the_crps(family):
    levels = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    params = own(family, PARAMS)
    torch.testing.assert_close(family.pinball(params, X, levels), family.crps(params, X), rtol=2e-3, atol=0)


@ALL
def test_the_crps_is_lowest_for_the_truth(family):
    # a proper score: over draws of a member, no other location or scale scores better
    generator = torch.Generator().manual_seed(0)
    truth = own(family, torch.tensor([1.0, 0.5], dtype=torch.float64))
    u = (torch.randperm(4000, generator=generator) + 0.5) / 4000
    x = family.quantile(truth, u.double())
    params = truth.clone().requires_grad_()
    score = family.crps(params.expand(len(x), -1), x)
    (gradient,) = torch.autograd.grad(score.mean(), params)
    assert gradient.abs().max() < 1e-3


@ALL
def test_entries_that_are_not_seen_integrate_out(family):
    params = own(family, PARAMS).clone().requires_grad_()
    mask = torch.tensor([True, False, True])
    for score in (family.crps, lambda p, x: -family.log_prob(p, x)):
        whole = masked_mean(score(params, torch.where(mask, X, 0.0)), mask)
        part = score(params[mask], X[mask]).mean()
        torch.testing.assert_close(whole, part)
        (gradient,) = torch.autograd.grad(whole, params)
        assert not gradient[1].any()
        assert torch.isfinite(gradient).all()


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_values_have_finite_scores_and_gradients(family, dtype):
    params = own(family, torch.tensor([[0.0, -5.0], [0.0, 3.0]], dtype=dtype)).requires_grad_()
    x = torch.tensor([[300.0, -300.0]], dtype=dtype).T
    for score in (family.crps, family.log_prob):
        value = score(params, x)
        (gradient,) = torch.autograd.grad(value.sum(), params)
        assert torch.isfinite(value).all()
        assert torch.isfinite(gradient).all()


@ALL
def test_far_quantiles_are_finite_and_symmetric(family):
    p = torch.tensor([1e-12, 1.0 - 1e-12], dtype=torch.float64)
    low, high = family.quantile(own(family, torch.zeros(2, dtype=torch.float64)), p)
    assert math.isfinite(low)
    torch.testing.assert_close(low, -high, rtol=1e-3, atol=0)
    half = family.quantile(own(family, PARAMS), torch.tensor(0.5, dtype=torch.float64))
    torch.testing.assert_close(half, PARAMS[:, 0], rtol=1e-14, atol=1e-14)


def test_a_mixture_has_the_moments_the_law_and_the_crps_of_its_parts():
    family, generator = NormalMixture(4), torch.Generator().manual_seed(0)
    params = torch.randn(50, 12, generator=generator, dtype=torch.float64)
    x = 2.0 * torch.randn(50, generator=generator, dtype=torch.float64)
    location, log_scale, weight = (block.numpy() for block in family.parts(params))
    scale = np.exp(log_scale)
    laws = scipy.stats.norm(location, scale)
    mean = (weight * location).sum(axis=1)
    expected = {
        "mean": mean,
        "variance": (weight * (scale**2 + location**2)).sum(axis=1) - mean**2,
    }
    for name, value in expected.items():
        torch.testing.assert_close(getattr(family, name)(params), torch.from_numpy(value), rtol=1e-12, atol=1e-12)
    points = x.numpy()[:, None]
    log_density = torch.from_numpy(np.log((weight * laws.pdf(points)).sum(axis=1)))
    torch.testing.assert_close(family.log_prob(params, x), log_density, rtol=1e-11, atol=1e-12)
    below = torch.from_numpy((weight * laws.cdf(points)).sum(axis=1))
    torch.testing.assert_close(family.cdf(params, x), below, rtol=1e-12, atol=1e-15)
    theirs = torch.from_numpy(scoringrules.crps_mixnorm(x.numpy(), location, scale, weight))
    torch.testing.assert_close(family.crps(params, x), theirs, rtol=1e-10, atol=1e-12)
    for p in (1e-9, 0.02, 0.5, 0.97):
        at = family.quantile(params, torch.tensor(p, dtype=torch.float64))
        torch.testing.assert_close(family.cdf(params, at), torch.full((50,), p, dtype=torch.float64), rtol=1e-9, atol=0)


def test_a_mixture_is_composed_around_its_mean_and_with_the_right_slopes():
    family, generator = NormalMixture(3), torch.Generator().manual_seed(1)
    location, log_scale, shape = (
        torch.randn(*size, generator=generator, dtype=torch.float64).requires_grad_()
        for size in ((5, 2), (5, 2), (5, 2, 9))
    )
    torch.testing.assert_close(family.mean(family.compose(location, log_scale, shape)), location)
    assert torch.autograd.gradcheck(family.compose, (location, log_scale, shape))
    # far out, widths stay in their range
    wide = family.compose(location, log_scale + 50.0, shape)[..., 3:6]
    assert wide.max() == 3.0


def test_quantiles_of_a_mixture_are_found_where_its_parts_lie_far_apart():
    # a point mass at zero with a share of .6, and a wide part: most quantiles lie on a cliff or on a plateau
    params = torch.tensor([0.0, 5.0, -9.0, 0.5, math.log(0.6), math.log(0.4)], dtype=torch.float64)
    p = torch.tensor([0.01, 0.3, 0.599999, 0.600001, 0.61, 0.9], dtype=torch.float64)
    family = NormalMixture(2)
    at = family.quantile(params, p)
    torch.testing.assert_close(family.cdf(params, at), p, rtol=1e-10, atol=0)
    assert bool((at.diff() > 0).all())


def test_quantiles_of_many_mixtures_are_found():
    # among so many some send Newton's method round in circles
    params = torch.randn(20_000, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = torch.tensor([0.2, 0.8], dtype=torch.float64)
    at = NormalMixture(3).quantile(params[:, None], p)
    torch.testing.assert_close(NormalMixture(3).cdf(params[:, None], at), p.expand(20_000, -1), rtol=1e-12, atol=0)


def test_merging_forecasts_gives_their_equal_weight_mixture():
    params = torch.tensor([[[0.0, -1.0]], [[3.0, 0.5]], [[-1.0, 0.0]]], dtype=torch.float64)
    merged = NormalMixture.merge(params)
    x = torch.tensor([0.4], dtype=torch.float64)
    mixture = NormalMixture(3)
    torch.testing.assert_close(mixture.cdf(merged, x), Normal().cdf(params, x).mean(dim=0))
    again = NormalMixture.merge(torch.stack([merged, merged + 0.1]))
    both = torch.stack([mixture.cdf(merged, x), mixture.cdf(merged + 0.1, x)]).mean(dim=0)
    torch.testing.assert_close(NormalMixture(6).cdf(again, x), both)

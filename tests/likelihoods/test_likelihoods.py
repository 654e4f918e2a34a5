"""Likelihoods against SciPy, against each other and at their edges; `check_likelihood` runs on all of them."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import scoringrules
import torch

from tsode.likelihoods import LIKELIHOODS, Normal, StudentT
from tsode.training.objective import masked_mean

ALL = pytest.mark.parametrize("family", [made() for made in LIKELIHOODS.values()], ids=list(LIKELIHOODS))
PARAMS = torch.tensor([[0.3, -0.4], [2.0, 1.1], [-50.0, 3.0]], dtype=torch.float64)
X = torch.tensor([0.1, 4.0, -20.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("family", "law"), [(Normal(), scipy.stats.norm), (StudentT(), lambda loc, scale: scipy.stats.t(4, loc, scale))]
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
    theirs = torch.from_numpy(scoringrules.crps_t(X.numpy(), 4.0, location, scale))
    torch.testing.assert_close(StudentT().crps(PARAMS, X), theirs, rtol=1e-9, atol=0)


@ALL
def test_the_mean_pinball_loss_tends_to_the_crps(family):
    levels = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    torch.testing.assert_close(family.pinball(PARAMS, X, levels), family.crps(PARAMS, X), rtol=2e-3, atol=0)


@ALL
def test_the_crps_is_lowest_for_the_truth(family):
    # a proper score: over draws of a member, no other location or scale scores better
    generator = torch.Generator().manual_seed(0)
    truth = torch.tensor([1.0, 0.5], dtype=torch.float64)
    u = (torch.randperm(4000, generator=generator) + 0.5) / 4000
    x = family.quantile(truth, u.double())
    params = truth.clone().requires_grad_()
    score = family.crps(params.expand(len(x), 2), x)
    (gradient,) = torch.autograd.grad(score.mean(), params)
    assert gradient.abs().max() < 1e-3


@ALL
def test_entries_that_are_not_seen_integrate_out(family):
    params = PARAMS.clone().requires_grad_()
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
    params = torch.tensor([[0.0, -5.0], [0.0, 3.0]], dtype=dtype, requires_grad=True)
    x = torch.tensor([[300.0, -300.0]], dtype=dtype).T
    for score in (family.crps, family.log_prob):
        value = score(params, x)
        (gradient,) = torch.autograd.grad(value.sum(), params)
        assert torch.isfinite(value).all()
        assert torch.isfinite(gradient).all()


@ALL
def test_far_quantiles_are_finite_and_symmetric(family):
    p = torch.tensor([1e-12, 1.0 - 1e-12], dtype=torch.float64)
    low, high = family.quantile(torch.zeros(2, dtype=torch.float64), p)
    assert math.isfinite(low)
    torch.testing.assert_close(low, -high, rtol=1e-3, atol=0)
    half = family.quantile(PARAMS, torch.tensor(0.5, dtype=torch.float64))
    assert torch.equal(half, PARAMS[:, 0])

"""Mixtures of the members of an ensemble, of any family: against SciPy, quadratures and the mixture of normals."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import scipy.stats
import torch
from scipy.integrate import quad
from torch import Tensor

from tsode.likelihoods import Laplace, Likelihood, Normal, NormalMixture, StudentT
from tsode.likelihoods.ensemble_mixture import EnsembleMixture, NormalEnsemble, mix_members
from tsode.testing import check_likelihood


def draw(family: Likelihood, n_members: int, n: int = 40, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, family.n_params, generator=generator, dtype=torch.float64) for _ in range(n_members)]


def values(n: int = 40) -> Tensor:
    return 2.0 * torch.randn(n, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


@pytest.mark.parametrize("member", [StudentT(), Laplace()], ids=lambda made: type(made).__name__)
def test_a_mixture_of_any_family_keeps_the_contract_of_likelihoods(member):
    check_likelihood(EnsembleMixture(2, member))


@pytest.mark.parametrize("member", [StudentT(), Laplace()], ids=lambda made: type(made).__name__)
def test_the_law_of_a_mixture_is_the_mean_of_those_of_its_members(member):
    each, x, mixture = draw(member, 3), values(), EnsembleMixture(3, member)
    params = mixture.merge_members(each)
    law = scipy.stats.laplace if isinstance(member, Laplace) else lambda loc, scale: scipy.stats.t(4, loc, scale)
    laws = [law(loc=own[:, 0].numpy(), scale=own[:, 1].exp().numpy()) for own in each]
    density = torch.from_numpy(sum(one.pdf(x.numpy()) for one in laws) / 3).log()
    below = torch.from_numpy(sum(one.cdf(x.numpy()) for one in laws) / 3)
    torch.testing.assert_close(mixture.log_prob(params, x), density, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(mixture.cdf(params, x), below, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("member", [StudentT(), Laplace()], ids=lambda made: type(made).__name__)
def test_quantiles_of_a_mixture_undo_its_distribution_function(member):
    mixture = EnsembleMixture(3, member)
    params = mixture.merge_members(draw(member, 3, 2000))
    p = torch.tensor([1e-6, 0.05, 0.5, 0.9, 0.999], dtype=torch.float64)
    x = mixture.quantile(params[:, None], p)
    torch.testing.assert_close(mixture.cdf(params[:, None], x), p.expand_as(x), rtol=1e-8, atol=0.0)


@pytest.mark.parametrize("member", [StudentT(), Laplace()], ids=lambda made: type(made).__name__)
def test_the_crps_of_a_mixture_is_that_of_a_quadrature(member):
    each, x, mixture = draw(member, 3, 6), values(6), EnsembleMixture(3, member)
    each[0] = each[0] - torch.tensor([0.0, 2.0])  # a narrow member beside wide ones
    params = mixture.merge_members(each)
    score = mixture.crps(params, x)
    for row in range(6):

        def squared(y: float, row: int = row) -> float:
            below = float(mixture.cdf(params[row], torch.tensor(y, dtype=torch.float64)))
            return (below - (y >= float(x[row]))) ** 2

        ends = mixture.quantile(params[row], torch.tensor([1e-7, 1.0 - 1e-7], dtype=torch.float64)).tolist()
        cuts = sorted([ends[0], float(x[row]), *(float(own[row, 0]) for own in each), ends[1]])
        truth = sum(quad(squared, a, b, epsabs=1e-10, limit=200)[0] for a, b in pairwise(cuts))
        assert float(score[row]) == pytest.approx(truth, rel=1e-6)


@pytest.mark.parametrize("n_members", [2, 5])
def test_either_class_gives_the_same_mixture_of_normals(n_members):
    each, x = draw(Normal(), n_members), values()
    general, closed = EnsembleMixture(n_members, Normal()), mix_members(n_members, Normal())
    assert isinstance(closed, NormalEnsemble)
    general_params, closed_params = (family.merge_members(each) for family in (general, closed))
    for name in ("log_prob", "cdf", "crps"):
        a, b = (getattr(f, name)(p, x) for f, p in ((general, general_params), (closed, closed_params)))
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7)
    for name in ("mean", "variance", "epistemic"):
        a, b = (getattr(f, name)(p) for f, p in ((general, general_params), (closed, closed_params)))
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    p = torch.tensor([0.01, 0.4, 0.95], dtype=torch.float64)
    a, b = general.quantile(general_params[:, None], p), closed.quantile(closed_params[:, None], p)
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "family", [Normal(), NormalMixture(2), StudentT(), Laplace()], ids=lambda made: type(made).__name__
)
def test_variance_is_the_mean_variance_and_the_variance_of_the_means(family):
    each, mixture = draw(family, 3), mix_members(3, family)
    params = mixture.merge_members(each)
    means, variances = (torch.stack([what(own) for own in each]) for what in (family.mean, family.variance))
    torch.testing.assert_close(mixture.epistemic(params), means.var(dim=0, correction=0))
    torch.testing.assert_close(mixture.variance(params) - mixture.epistemic(params), variances.mean(dim=0))
    wide = mixture.affine(params, torch.tensor(3.0), torch.tensor(2.0))
    torch.testing.assert_close(mixture.epistemic(wide), 4.0 * mixture.epistemic(params))
    torch.testing.assert_close(mixture.mean(wide), 3.0 + 2.0 * mixture.mean(params))


@pytest.mark.parametrize("family", [Normal(), StudentT()], ids=lambda made: type(made).__name__)
def test_members_that_agree_leave_no_epistemic_part(family):
    params = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mixture, x = mix_members(2, family), values(4)
    both = mixture.merge_members([params, params])
    assert mixture.epistemic(both).abs().max() < 1e-15
    assert family.epistemic(params).tolist() == [0.0] * 4
    torch.testing.assert_close(mixture.crps(both, x), family.crps(params, x), rtol=1e-12, atol=1e-14)


def test_a_mixture_is_stretched_about_its_mean():
    member = StudentT()
    mixture = EnsembleMixture(2, member)
    params = mixture.merge_members(draw(member, 2))
    factor = torch.full((40,), 3.0, dtype=torch.float64)
    wide = mixture.rescale(params, factor)
    torch.testing.assert_close(mixture.mean(wide), mixture.mean(params))
    torch.testing.assert_close(mixture.variance(wide), 9.0 * mixture.variance(params))
    location = torch.zeros(3, dtype=torch.float64)
    composed = mixture.compose(location, location, torch.zeros(3, 0))
    torch.testing.assert_close(mixture.variance(composed), torch.full((3,), 2.0, dtype=torch.float64))
    torch.testing.assert_close(mixture.log_prob(composed, location), math.log(3 / 8) + location)


@pytest.mark.parametrize("family", [NormalMixture(3), NormalEnsemble(2, 4), EnsembleMixture(2, StudentT())])
def test_a_quantile_is_the_same_to_the_bit_whatever_is_asked_beside_it(family):
    params = torch.randn(300, family.n_params, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = torch.tensor([1e-6, 0.025, 0.5, 0.9, 0.9999], dtype=torch.float64)
    together = family.quantile(params[:, None], p)
    for row in (0, 7, 299):
        for k, level in enumerate(p):
            assert torch.equal(family.quantile(params[row : row + 1], level), together[row : row + 1, k])
    torch.testing.assert_close(family.cdf(params[:, None], together), p.expand_as(together), rtol=1e-8, atol=1e-12)

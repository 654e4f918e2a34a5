"""Likelihoods of counts, log-normal and free Student-t: SciPy, far tails, and derivatives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import scoringrules
import torch

from tsode.errors import ParameterError
from tsode.likelihoods.ensemble_mixture import EnsembleMixture
from tsode.likelihoods.free_student_t import FreeStudentT
from tsode.likelihoods.log_normal import LogNormal
from tsode.likelihoods.negative_binomial import NegativeBinomial
from tsode.likelihoods.normal import Normal
from tsode.likelihoods.poisson import Poisson
from tsode.testing.parts import check_likelihood


def numbers(values):
    return torch.from_numpy(np.array(values, dtype=np.float64))


MEAN, SIZE = np.array([0.3, 4.0, 250.0]), np.array([0.7, 3.0, 40.0])
FAMILIES = {
    "poisson": (Poisson(), numbers(np.log(MEAN))[:, None], scipy.stats.poisson(MEAN)),
    "negative_binomial": (
        NegativeBinomial(),
        numbers(np.log(np.stack([MEAN, SIZE], axis=1))),
        scipy.stats.nbinom(SIZE, SIZE / (SIZE + MEAN)),
    ),
    "log_normal": (
        LogNormal(),
        numbers([[0.3, -0.5], [2.0, 0.2], [-3.0, -2.0]]),
        scipy.stats.lognorm(np.exp([-0.5, 0.2, -2.0]), scale=np.exp([0.3, 2.0, -3.0])),
    ),
    "student_t": (
        FreeStudentT(),
        numbers([[0.3, -0.5, 1.0], [2.0, 0.2, 2.0], [-3.0, -2.0, 3.5]]),
        scipy.stats.t(np.exp([1.0, 2.0, 3.5]), [0.3, 2.0, -3.0], np.exp([-0.5, 0.2, -2.0])),
    ),
}
COUNTS = ("poisson", "negative_binomial")
ALL = pytest.mark.parametrize("name", FAMILIES)


def points(law):
    return numbers([law.ppf(p) for p in (0.02, 0.3, 0.5, 0.9, 0.999)])


@ALL
def test_a_law_is_that_of_scipy(name):
    family, params, law = FAMILIES[name]
    log_mass = law.logpmf if name in COUNTS else law.logpdf
    for x in points(law):
        torch.testing.assert_close(family.log_prob(params, x), numbers(log_mass(x.numpy())), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(family.cdf(params, x), numbers(law.cdf(x.numpy())), rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(family.mean(params), numbers(law.mean()), rtol=1e-12, atol=0.0)
    torch.testing.assert_close(family.variance(params), numbers(law.var()), rtol=1e-10, atol=0.0)
    for p in (1e-6, 0.05, 0.5, 0.999):
        torch.testing.assert_close(family.quantile(params, numbers(p)), numbers(law.ppf(p)), rtol=1e-9, atol=1e-12)


@ALL
def test_masses_at_and_beyond_a_limit_are_those_of_scipy(name):
    family, params, law = FAMILIES[name]
    step = 1 if name in COUNTS else 0
    for x in points(law):
        torch.testing.assert_close(family.log_below(params, x), numbers(law.logcdf(x.numpy())), rtol=1e-9, atol=1e-13)
        above = numbers(law.logsf(x.numpy() - step))
        torch.testing.assert_close(family.log_above(params, x), above, rtol=1e-9, atol=1e-13)


def summed_crps(law, x):
    k = np.arange(3000)[:, None]
    return ((law.cdf(k) - (k >= x)) ** 2).sum(axis=0)


@ALL
def test_scores_are_those_of_scoringrules_or_of_the_sum_over_all_counts(name):
    family, params, law = FAMILIES[name]
    one, two = params[:, 0].numpy(), params[:, -1].numpy()
    for x in points(law):
        theirs = {
            "poisson": lambda y: summed_crps(law, y),
            "negative_binomial": lambda y: summed_crps(law, y),
            "log_normal": lambda y: scoringrules.crps_lognormal(y, one, np.exp(two)),
            "student_t": lambda y: scoringrules.crps_t(y, np.exp(two), one, np.exp(params[:, 1].numpy())),
        }[name](x.numpy())
        torch.testing.assert_close(family.crps(params, x), numbers(theirs), rtol=1e-8, atol=1e-10)


@ALL
def test_derivatives_are_those_of_differences_second_ones_too(name):
    family, params, law = FAMILIES[name]
    x, params = points(law)[2], params.clone().requires_grad_()
    for score in (family.log_prob, family.log_below, family.log_above):
        assert torch.autograd.gradcheck(lambda p: score(p, x), params, atol=1e-6)  # noqa: B023
    if name in ("poisson", "log_normal"):  # others have a shape, whose derivative by differences has none
        for score in (family.log_below, family.log_above):
            assert torch.autograd.gradgradcheck(lambda p: score(p, x), params, atol=1e-6)  # noqa: B023


@pytest.mark.parametrize(
    ("family", "params", "below", "above", "slopes"),
    [
        # a limit 20 standard deviations off; by the location the log mass has the slope of the hazard
        (Normal(), [0.0, 0.0], -20.0, 20.0, (-20.0498, 20.0498)),
        (LogNormal(), [0.0, 0.0], math.exp(-20.0), math.exp(20.0), (-20.0498, 20.0498)),
        (FreeStudentT(), [0.0, 0.0, math.log(5.0)], -20.0, 20.0, (-0.2469, 0.2469)),
        (Poisson(), [math.log(400.0)], 0.0, 800.0, (-400.0, 400.5)),
        (Poisson(), [math.log(1e4)], 8000.0, 12000.0, (-2001.0, 2001.0)),
        (NegativeBinomial(), [math.log(1e4), math.log(1e7)], 8000.0, 12000.0, (-2001.0, 2001.0)),
        (NegativeBinomial(), [math.log(400.0), math.log(1e6)], 0.0, 800.0, (-400.0, 400.5)),
    ],
)
def test_a_mass_twenty_standard_deviations_away_is_finite_with_the_slope_of_the_hazard(
    family, params, below, above, slopes
):
    params = numbers(params).requires_grad_()
    for log_mass, limit, slope in zip((family.log_below, family.log_above), (below, above), slopes):
        value = log_mass(params, numbers(limit))
        (gradient,) = torch.autograd.grad(value, params)
        assert value.isfinite()
        assert value < -5.0
        assert float(gradient[0]) == pytest.approx(slope, rel=5e-3)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("mean", [2000.0, 1e5])
def test_a_mass_too_small_for_a_number_is_its_first_terms(mean):
    for family, params in ((Poisson(), [math.log(mean)]), (NegativeBinomial(), [math.log(mean), math.log(1e9)])):
        params = numbers(params)
        # log of exp(-m) (1 + m + m**2 / 2), and what a finite size adds to the mass of 0
        exact = -mean + math.log(1 + mean + mean**2 / 2) + (len(params) - 1) * mean**2 / 2e9
        assert float(family.log_below(params, numbers(2.0))) == pytest.approx(exact, rel=1e-6)
        far = numbers(10 * mean)  # where each term is a tenth of the one before
        first = float(family.log_prob(params, far))
        assert float(family.log_above(params, far)) == pytest.approx(first + math.log(1 / 0.9), abs=1e-3)


def test_a_value_below_all_counts_has_no_mass_and_all_above_it_has_all():
    for name in COUNTS:
        family, params, _ = FAMILIES[name]
        assert (family.log_below(params, numbers(-1.0)) == -math.inf).all()
        assert (family.log_above(params, numbers(0.0)) == 0.0).all()


def test_a_student_t_with_free_degrees_keeps_the_contract_of_likelihoods():
    check_likelihood(FreeStudentT())


def test_moments_are_kept_by_the_member_that_has_them():
    mean, scale = numbers([5.0, 40.0]), numbers([4.0, 9.0])
    for family in (LogNormal(), NegativeBinomial()):
        params = family.from_moments(mean, scale)
        torch.testing.assert_close(family.mean(params), mean)
        torch.testing.assert_close(family.variance(params).sqrt(), scale)


def test_counts_cannot_be_moved_and_positive_values_only_scaled():
    family, params, _ = FAMILIES["poisson"]
    with pytest.raises(ParameterError, match="its values are counts"):
        family.affine(params, numbers(0.0), numbers(2.0))
    family, params, law = FAMILIES["log_normal"]
    doubled = family.affine(params, numbers(0.0), numbers(2.0))
    torch.testing.assert_close(family.mean(doubled), numbers(2 * law.mean()))
    with pytest.raises(ParameterError, match="cannot be shifted"):
        family.affine(params, numbers(1.0), numbers(2.0))


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_a_mixture_of_counts_has_whole_quantiles_and_the_score_of_the_sum_over_all_counts(name):
    family, params, law = FAMILIES[name]
    mixture, whole = EnsembleMixture(3, family), params.reshape(1, -1)
    k = np.arange(3000)
    cdf = law.cdf(k[:, None]).mean(axis=1)
    for p in (1e-4, 0.05, 0.3, 0.5, 0.7, 0.99):
        assert float(mixture.quantile(whole, numbers(p))) == k[np.argmax(cdf >= p)]
    for x in (0.0, 4.0, 100.0, 400.0):
        exact = ((cdf - (k >= x)) ** 2).sum()
        assert float(mixture.crps(whole, numbers([x]))) == pytest.approx(exact, rel=1e-4)
    torch.testing.assert_close(mixture.mean(whole), numbers([MEAN.mean()]))
    spread = law.var().mean() + MEAN.var()
    torch.testing.assert_close(mixture.variance(whole), numbers([spread]))

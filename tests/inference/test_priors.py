"""Priors against SciPy: densities, bounds, quantiles, draws, and the unbounded coordinates."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch

from tsode.errors import ParameterError, UnknownNameError
from tsode.inference.priors import (
    PRIORS,
    Beta,
    Cauchy,
    Exponential,
    Gamma,
    HalfNormal,
    InverseGamma,
    LogNormal,
    Normal,
    StudentT,
    Uniform,
    prior_from_dict,
)

FREE = [
    (Normal(1.0, 0.5), scipy.stats.norm(1.0, 0.5)),
    (LogNormal(-1.0, 0.7), scipy.stats.lognorm(0.7, scale=math.exp(-1.0))),
    (StudentT(3.0, 1.0, 2.0), scipy.stats.t(3.0, 1.0, 2.0)),
    (Cauchy(0.5, 2.5), scipy.stats.cauchy(0.5, 2.5)),
    (Gamma(2.5, 3.0), scipy.stats.gamma(2.5, scale=1 / 3)),
    (HalfNormal(0.7), scipy.stats.halfnorm(scale=0.7)),
    (InverseGamma(3.0, 2.0), scipy.stats.invgamma(3.0, scale=2.0)),
    (Exponential(3.0), scipy.stats.expon(scale=1 / 3)),
    (Beta(2.0, 5.0), scipy.stats.beta(2.0, 5.0)),
    (Uniform(-1.0, 3.0), scipy.stats.uniform(-1.0, 4.0)),
]
LAWS = pytest.mark.parametrize(("prior", "law"), FREE, ids=[type(prior).__name__ for prior, _ in FREE])


def bounded(prior, law):
    """The same prior cut from below, from above, and from both sides, by its own quantiles."""
    low, high = (float(x) for x in law.ppf([0.3, 0.8]))
    numbers = {name: value for name, value in prior.to_dict().items() if name != "prior"}
    cuts = ({"lower": low}, {"upper": high}, {"lower": low, "upper": high})
    return [type(prior)(**numbers, **cut) for cut in cuts]


def share(prior, law):
    low, high = prior.bounds
    return law.cdf(high) - law.cdf(low)


def density(x, prior):
    return math.exp(prior.log_prob(torch.tensor(x, dtype=torch.float64)))


@LAWS
def test_a_density_is_that_of_scipy_over_the_share_that_the_bounds_leave(prior, law):
    x = law.ppf(np.linspace(0.02, 0.98, 25))
    for one in (prior, *bounded(prior, law)):
        low, high = one.bounds
        inside = np.where((x >= low) & (x <= high), law.logpdf(x) - np.log(share(one, law)), -np.inf)
        torch.testing.assert_close(one.log_prob(torch.from_numpy(x)), torch.from_numpy(inside), rtol=1e-10, atol=1e-11)


@LAWS
def test_a_density_integrates_to_one_between_its_bounds(prior, law):
    for one in (prior, *bounded(prior, law)):
        ends = [one.bounds[0], *one.quantile([0.001, 0.1, 0.5, 0.9, 0.999]), one.bounds[1]]
        parts = [scipy.integrate.quad(density, a, b, args=(one,))[0] for a, b in itertools.pairwise(ends) if a < b]
        total = sum(parts)
        assert total == pytest.approx(1.0, abs=1e-7)


@LAWS
def test_quantiles_undo_the_distribution_function_between_bounds(prior, law):
    p = np.array([1e-6, 0.1, 0.5, 0.9, 1 - 1e-6])
    for one in (prior, *bounded(prior, law)):
        below = (law.cdf(one.quantile(p)) - law.cdf(one.bounds[0])) / share(one, law)
        np.testing.assert_allclose(below, p, rtol=1e-6, atol=1e-12)


@LAWS
def test_draws_have_the_law(prior, law):
    for k, one in enumerate((prior, *bounded(prior, law))):
        x = one.sample((2000,), torch.Generator().manual_seed(k)).numpy()
        low, high = one.bounds
        assert ((x > low) & (x < high)).all()
        uniform = (law.cdf(x) - law.cdf(low)) / share(one, law)
        assert scipy.stats.kstest(uniform, "uniform").pvalue > 1e-3  # fails for one seed of a thousand


@LAWS
def test_the_log_derivative_of_a_parameter_by_its_coordinate_is_that_of_differences(prior, law):
    u = torch.linspace(-3.0, 3.0, 13, dtype=torch.float64)
    for one in (prior, *bounded(prior, law)):
        x, log_derivative = one.constrain(u)
        apart = one.constrain(u + 1e-6)[0] - one.constrain(u - 1e-6)[0]
        torch.testing.assert_close(log_derivative, (apart / 2e-6).log(), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(one.unconstrain(x), u, rtol=1e-9, atol=1e-8)
        assert torch.autograd.gradcheck(lambda v: sum(one.constrain(v)), u.clone().requires_grad_())  # noqa: B023


@LAWS
def test_the_median_is_the_origin_and_most_of_a_prior_lies_within_one_of_it(prior, law):
    for one in (prior, *bounded(prior, law)):
        low, middle, high = one.unconstrain(torch.from_numpy(one.quantile([0.1586552539, 0.5, 0.8413447461]))).tolist()
        assert middle == pytest.approx(0.0, abs=1e-9)
        assert high - low == pytest.approx(2.0, rel=1e-6)


def test_a_unit_of_measurement_changes_no_coordinate():
    pairs = [
        (Normal(1.0, 0.5, lower=0.2), Normal(1000.0, 500.0, lower=200.0)),
        (LogNormal(0.3, 0.5), LogNormal(0.3 + math.log(1000.0), 0.5)),
        (Gamma(2.0, 3.0), Gamma(2.0, 0.003)),
        (Uniform(1.0, 2.0), Uniform(1000.0, 2000.0)),
        (Cauchy(0.0, 2.5), Cauchy(0.0, 2500.0)),
    ]
    for one, thousandfold in pairs:
        x = one.sample((20,), torch.Generator().manual_seed(0))
        torch.testing.assert_close(thousandfold.unconstrain(1000.0 * x), one.unconstrain(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("lower", "upper"), [(10.0, None), (35.0, 36.0), (None, -10.0), (-36.0, -35.0)])
def test_bounds_far_in_a_tail_keep_the_law(lower, upper):
    prior = Normal(0.0, 1.0, lower=lower, upper=upper)
    near = min(abs(end) for end in (lower, upper) if end is not None)
    # beyond t the law of t * (x - t) nears an exponential one: log density log(t) + 1/t**2 at the bound
    at_bound = prior.log_prob(torch.tensor(near if lower and lower > 0 else -near, dtype=torch.float64))
    assert float(at_bound) == pytest.approx(math.log(near) + 1 / near**2, abs=3e-4)
    x = prior.sample((2000,), torch.Generator().manual_seed(3)).abs().numpy()
    excess = near * (x - near)
    assert excess.mean() == pytest.approx(1.0, abs=6 / math.sqrt(2000))
    u = prior.unconstrain(torch.from_numpy(prior.quantile([0.01, 0.5, 0.99])))
    assert u.isfinite().all()


@pytest.mark.parametrize("name", PRIORS)
def test_every_family_returns_from_its_saved_numbers(name):
    (prior,) = (prior for prior, _ in FREE if type(prior).__name__ == name)
    (law,) = (law for prior, law in FREE if type(prior).__name__ == name)
    for one in (prior, *bounded(prior, law)):
        assert prior_from_dict(one.to_dict()) == one


def test_a_coordinate_far_out_is_out_of_reach_and_what_is_in_reach_is_finite():
    for prior in (Normal(0.0, 1.0), LogNormal(0.0, 1.0), Beta(1.0, 1.0), Normal(0.0, 1.0, upper=2.0)):
        u = torch.tensor([-1e200, -400.0, 0.0, 400.0, 1e200, math.nan, math.inf], dtype=torch.float64)
        is_near = prior.is_in_reach(u)
        assert not is_near[[0, 4, 5, 6]].any()
        assert is_near[2]
        x, log_derivative = prior.constrain(u[is_near])
        assert x.isfinite().all()
        assert log_derivative.isfinite().all()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Normal(0.0, -1.0), "sd of Normal must be above 0, but is -1"),
        (lambda: Normal(0.0, 1.0, lower=2.0, upper=1.0), "no room"),
        (lambda: Gamma(1.0, 1.0, upper=-1.0), "no room"),
        (lambda: Normal(0.0, 1.0, lower=50.0), "too far out"),
        (lambda: Normal("1", 1.0), "mean of Normal must be a number, but is '1'"),
        (lambda: Normal(math.inf, 1.0), "mean of Normal must be finite"),
        (lambda: Uniform(2.0, 1.0), "low of Uniform must be below high"),
    ],
)
def test_a_prior_that_cannot_be_says_why(make, says):
    with pytest.raises(ParameterError, match=says):
        make()


def test_an_unknown_family_is_named_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"'Nornal' is not a known prior. Did you mean 'Normal'"):
        prior_from_dict({"prior": "Nornal", "mean": 0.0, "sd": 1.0})


def test_a_prior_prints_as_it_is_written():
    assert repr(Normal(1, 0.5, lower=0)) == "Normal(1, 0.5, lower=0)"

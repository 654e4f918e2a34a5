"""Noise of channels: densities by SciPy, limits of quantification, and messages."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch

from tsode.errors import ParameterError
from tsode.inference.noise import (
    NOISES,
    AdditiveNoise,
    Between,
    CombinedNoise,
    LogNormalNoise,
    NegativeBinomialNoise,
    PoissonNoise,
    ProportionalNoise,
    StudentTNoise,
)


def numbers(values):
    return torch.from_numpy(np.array(values, dtype=np.float64))


M = np.array([0.5, 2.0, 30.0])
CASES = {
    "AdditiveNoise": (AdditiveNoise("x", sd=0.7), scipy.stats.norm(M, 0.7)),
    "ProportionalNoise": (ProportionalNoise("x", cv=0.2), scipy.stats.norm(M, 0.2 * M)),
    "CombinedNoise": (CombinedNoise("x", sd=0.3, cv=0.2), scipy.stats.norm(M, np.sqrt(0.09 + (0.2 * M) ** 2))),
    "LogNormalNoise": (LogNormalNoise("x", sd=0.4), scipy.stats.lognorm(0.4, scale=M)),
    "StudentTNoise": (StudentTNoise("x", scale=0.7, df=3.0), scipy.stats.t(3.0, M, 0.7)),
    "PoissonNoise": (PoissonNoise("x"), scipy.stats.poisson(M)),
    "NegativeBinomialNoise": (NegativeBinomialNoise("x", size=3.0), scipy.stats.nbinom(3.0, 3.0 / (3.0 + M))),
}
ALL = pytest.mark.parametrize("name", NOISES)
COUNTS = ("PoissonNoise", "NegativeBinomialNoise")


def scored(noise, mean, values):
    """Log probability of values (k,) by predictions (k,) as the density of a system has it."""
    own = {name: numbers(value) for name, value in noise.settings().items()}
    params = noise.params(mean[None], own)
    return noise.log_prob(params, values, noise.is_below(values) & ~noise.is_above(values), noise.is_above(values))[0]


def limited(name, **limits):
    noise = CASES[name][0]
    return type(noise)(noise.of, *noise.settings().values(), **limits)


@ALL
def test_a_value_has_the_density_of_scipy(name):
    noise, law = CASES[name]
    values = law.ppf([0.1, 0.5, 0.95])
    log_density = law.logpmf if name in COUNTS else law.logpdf
    torch.testing.assert_close(
        scored(noise, numbers(M), numbers(values)), numbers(log_density(values)), rtol=1e-10, atol=1e-10
    )


@ALL
def test_a_value_beyond_a_limit_counts_by_the_mass_there_whatever_it_is(name):
    _, law = CASES[name]
    low, high = np.array([2.0]), np.array([3.0])
    for value in (0.0, 1.0, 2.0):
        score = scored(limited(name, below=2.0), numbers(M), numbers([value] * 3))
        torch.testing.assert_close(score, numbers(law.logcdf(low)), rtol=1e-9, atol=1e-12)
    for value in (3.0, 50.0):
        score = scored(limited(name, above=3.0), numbers(M), numbers([value] * 3))
        at_least = law.logsf(high - (1 if name in COUNTS else 0))
        torch.testing.assert_close(score, numbers(at_least), rtol=1e-9, atol=1e-12)


@ALL
def test_values_on_either_side_of_two_limits_are_scored_each_in_its_way(name):
    both = limited(name, below=1.0, above=5.0)
    values, mean = numbers([0.0, 3.0, 9.0, 2.0]), numbers([2.0, 2.0, 2.0, 2.0])
    score = scored(both, mean, values)
    free, low, high = CASES[name][0], limited(name, below=1.0), limited(name, above=5.0)
    apart = [scored(one, mean[:1], values[k : k + 1]) for k, one in enumerate((low, free, high, free))]
    torch.testing.assert_close(score, torch.cat(apart), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["AdditiveNoise", "ProportionalNoise", "CombinedNoise", "LogNormalNoise"])
def test_a_limit_twenty_standard_deviations_off_has_a_finite_mass_and_the_slope_of_the_hazard(name):
    law = CASES[name][1]
    spread = np.log(M) if name == "LogNormalNoise" else M
    width = 0.4 if name == "LogNormalNoise" else law.std()
    limit = spread - 20 * width
    limit = np.exp(limit) if name == "LogNormalNoise" else limit
    for k in range(3):
        mean = numbers(M[k : k + 1]).requires_grad_()
        score = scored(limited(name, below=limit[k]), mean, numbers([limit[k] - 1.0]))
        (slope,) = torch.autograd.grad(score.sum(), mean)
        assert float(score.detach()) == pytest.approx(scipy.stats.norm.logcdf(-20), rel=1e-6)
        step = 1e-6 * M[k]
        shifted = [float(scored(limited(name, below=limit[k]), mean.detach() + by, numbers([limit[k] - 1.0])))
                   for by in (step, -step)]  # fmt: skip
        assert float(slope) == pytest.approx((shifted[0] - shifted[1]) / (2 * step), rel=1e-6)


@ALL
def test_derivatives_by_the_prediction_and_the_numbers_are_those_of_differences(name):
    noise, law = CASES[name]
    values = numbers(law.ppf([0.1, 0.5, 0.95]))
    names = list(noise.settings())
    none = torch.zeros(3, dtype=torch.bool)

    def score(mean, *own):
        params = noise.params(mean[None], dict(zip(names, own)))
        return noise.log_prob(params, values, none, none)

    arguments = [numbers(M), *(numbers(value) for value in noise.settings().values())]
    assert torch.autograd.gradcheck(score, [x.requires_grad_() for x in arguments])


def test_which_predictions_a_noise_can_be_about():
    mean = numbers([-1.0, -1e-9, 0.0, 1e-9, 1.0, math.nan, math.inf])
    tolerance = torch.full_like(mean, 1e-8)
    possible = {name: noise.is_possible(mean, tolerance).tolist() for name, (noise, _) in CASES.items()}
    for name in ("AdditiveNoise", "CombinedNoise", "StudentTNoise"):
        assert possible[name] == [True] * 5 + [False] * 2
    for name in ("LogNormalNoise", *COUNTS):
        assert possible[name] == [False] + [True] * 4 + [False] * 2
        held = CASES[name][0].held(mean[1:5], tolerance[1:5])
        assert held.tolist() == [1e-8, 1e-8, 1e-8, 1.0]
    assert possible["ProportionalNoise"] == [True, False, False, False, True, False, False]


def test_which_values_can_come():
    values = numbers([-1.0, 0.0, 1.0, 1.5, math.inf])
    assert LogNormalNoise("x", sd=1.0).is_supported(values).tolist() == [False, False, True, True, False]
    assert PoissonNoise("x").is_supported(values).tolist() == [False, True, True, False, False]
    assert AdditiveNoise("x", sd=1.0).is_supported(values).tolist() == [True] * 4 + [False]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: AdditiveNoise("x", sd=-1.0),
            "sd of AdditiveNoise must be the name of a parameter or a number above 0",
        ),
        (lambda: AdditiveNoise(3, sd=1.0), "of a state's name, of a function"),
        (lambda: AdditiveNoise("x", sd=1.0, below=2.0, above=1.0), "below of AdditiveNoise must be less than above"),
        (lambda: PoissonNoise("x", below=math.nan), "must be finite"),
        (lambda: Between("x"), "Between needs a function of"),
    ],
)
def test_a_noise_that_cannot_be_says_why(make, says):
    with pytest.raises(ParameterError, match=says):
        make()

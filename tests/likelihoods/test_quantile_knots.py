"""Laws by their quantiles: against interpolation, SciPy's exponential law, and quadratures between the knots."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.integrate import quad

from tsode.errors import ParameterError
from tsode.likelihoods.quantile_knots import LEAST_GAP, QuantileKnots

LEVELS = (0.05, 0.2, 0.5, 0.6, 0.9, 0.97)
KNOTS = np.array([-2.0, -1.5, 0.25, 0.75, 3.0, 5.0])
LAW = QuantileKnots(LEVELS)
PARAMS = LAW.from_quantiles(torch.from_numpy(KNOTS))
ENDS = [-40.0, *KNOTS, 60.0]  # in the tails nothing is left there: lengths 0.36 and 1.7
VALUES = [-6.0, -2.0, -1.9, 0.25, 0.3, 4.5, 9.0]


def value(x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


def density(x: float) -> float:
    return float(LAW.log_prob(PARAMS, value(x)).exp())


def integral(f, cuts):
    return sum(quad(f, a, b, epsabs=1e-12, epsrel=1e-12, limit=200)[0] for a, b in pairwise(sorted(cuts)))


def test_quantiles_are_straight_lines_between_the_knots():
    p = np.linspace(0.05, 0.97, 300)
    found = LAW.quantile(PARAMS[None], torch.from_numpy(p))
    np.testing.assert_allclose(found.numpy(), np.interp(p, LEVELS, KNOTS), rtol=0, atol=1e-13)
    np.testing.assert_allclose(LAW.knots(PARAMS).numpy(), KNOTS, rtol=0, atol=1e-14)


def test_tails_are_those_of_the_exponential_law_through_the_two_outermost_knots():
    law = scipy.stats.expon(loc=-3.0, scale=2.0)
    levels = (0.1, 0.5, 0.8, 0.95)
    exact = QuantileKnots(levels)
    params = exact.from_quantiles(torch.from_numpy(law.ppf(levels)))
    p = np.array([0.95, 0.99, 0.99999, 1.0 - 1e-12])
    np.testing.assert_allclose(exact.quantile(params[None], torch.from_numpy(p)).numpy(), law.ppf(p), rtol=1e-9)
    x = torch.from_numpy(law.ppf(p[:3]))
    np.testing.assert_allclose(exact.cdf(params[None], x).numpy(), p[:3], rtol=1e-12)
    np.testing.assert_allclose(exact.log_prob(params[None], x).numpy(), law.logpdf(x.numpy()), rtol=1e-9)


def test_the_distribution_function_undoes_the_quantiles_and_is_the_integral_of_the_density():
    p = torch.tensor([1e-9, 0.03, 0.05, 0.31, 0.5, 0.88, 0.97, 0.999999], dtype=torch.float64)
    x = LAW.quantile(PARAMS[None], p)
    torch.testing.assert_close(LAW.cdf(PARAMS[None], x), p, rtol=1e-9, atol=0.0)
    for at, level in zip(x.tolist()[1:-1], p.tolist()[1:-1]):
        cuts = [end for end in ENDS if end < at]
        assert integral(density, [*cuts, at]) == pytest.approx(level, rel=1e-9)


def test_mean_and_variance_are_those_of_the_density():
    mean = integral(lambda x: x * density(x), ENDS)
    assert float(LAW.mean(PARAMS)) == pytest.approx(mean, rel=1e-10)
    assert float(LAW.variance(PARAMS)) == pytest.approx(
        integral(lambda x: (x - mean) ** 2 * density(x), ENDS), rel=1e-10
    )


@pytest.mark.parametrize("x", VALUES)
def test_the_crps_is_the_integral_of_the_squared_error_of_the_distribution_function(x):
    truth = integral(lambda y: (float(LAW.cdf(PARAMS, value(y))) - (y >= x)) ** 2, [*ENDS, x])
    assert float(LAW.crps(PARAMS, value(x))) == pytest.approx(truth, rel=1e-9)


def test_a_member_is_made_from_its_moments():
    mean, scale = torch.tensor([0.0, -3.0, 100.0]).double(), torch.tensor([1.0, 0.25, 8.0]).double()
    params = LAW.from_moments(mean, scale)
    torch.testing.assert_close(LAW.mean(params), mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(LAW.variance(params), scale**2, rtol=1e-12, atol=0.0)
    shape = torch.tensor([[0.3, -0.2, 0.1, 0.0, 0.5]]).double().expand(3, -1)
    torch.testing.assert_close(LAW.mean(LAW.compose(mean, scale.log(), shape)), mean, rtol=1e-12, atol=1e-12)


def test_stretching_keeps_the_median_and_shifting_moves_every_quantile():
    p = torch.tensor([0.001, 0.3, 0.5, 0.8, 0.999]).double()
    plain = LAW.quantile(PARAMS[None], p)
    wide = LAW.quantile(LAW.rescale(PARAMS, torch.tensor(3.0).double())[None], p)
    torch.testing.assert_close(wide - 0.25, 3.0 * (plain - 0.25), rtol=1e-12, atol=1e-14)
    moved = LAW.affine(PARAMS, torch.tensor(-7.0).double(), torch.tensor(2.0).double())
    torch.testing.assert_close(LAW.quantile(moved[None], p), -7.0 + 2.0 * plain, rtol=1e-12, atol=0.0)


def test_crossed_quantiles_are_sorted_and_ties_keep_a_density():
    crossed = LAW.from_quantiles(torch.from_numpy(KNOTS[[1, 0, 2, 3, 5, 4]].copy()))
    assert torch.equal(crossed, PARAMS)
    tied = LAW.from_quantiles(torch.zeros(6, dtype=torch.float64))
    assert float(LAW.knots(tied).diff().min()) == pytest.approx(LEAST_GAP)
    assert torch.isfinite(LAW.log_prob(tied[None], torch.tensor([-1.0, 0.0, 1.0]).double())).all()


def test_gradients_are_those_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    params = (PARAMS + 0.1 * torch.randn(4, 6, generator=generator, dtype=torch.float64)).requires_grad_()
    x = torch.tensor([-3.0, 0.4, 2.0, 8.0], dtype=torch.float64, requires_grad=True)
    for name in ("log_prob", "crps", "cdf"):
        assert torch.autograd.gradcheck(getattr(LAW, name), (params, x))
    p = torch.tensor([0.01, 0.4, 0.99], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda q: LAW.quantile(q[:, None], p), (params,))


@pytest.mark.parametrize(
    "levels", [(0.1, 0.9), (0.5, 0.6, 0.7), (0.1, 0.4, 0.9), (0.1, 0.5, 0.5, 0.9), (0.0, 0.5, 1.0)]
)
def test_levels_without_a_median_between_others_are_refused(levels):
    with pytest.raises(ParameterError, match="levels must increase"):
        QuantileKnots(levels)

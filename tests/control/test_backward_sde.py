"""Backward equations: closed forms in one and two dimensions, a grid, and what is said of what is wrong."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import integrate, stats

from tests.control.two_rates import price_with_two_rates
from tsode import KnownSDEForecaster
from tsode.control import backward_sde, fitted_forward
from tsode.core.status import Status
from tsode.dynamics.geometric_brownian import GeometricBrownian
from tsode.errors import DataError, ParameterError, ShapeError
from tsode.inference import AdditiveNoise, Normal

FEW = {"n_paths": 4000, "random_state": 0}
QUICK = {"method": "network", "n_iterations": 150, "n_hidden": 16, "learning_rate": 0.02}
METHODS = pytest.mark.parametrize("settings", [{}, QUICK], ids=["regression", "network"])
WALK = (lambda t, x: torch.zeros_like(x), lambda t, x: torch.ones_like(x))


def square(x):
    return x.square().sum(dim=1)


def steering(t, x, y, z):
    return -0.5 * z.square().sum(dim=1)


def geometric(growth=0.05, sigma=0.2):
    equation = GeometricBrownian(1).double()
    with torch.no_grad():
        equation.growth.fill_(growth)
        equation.sigma.fill_(sigma)
    return equation


@METHODS
def test_without_a_driver_it_is_an_expectation_and_its_slope(settings):
    found = backward_sde(WALK, square, start=[0.5, -1.0], **FEW, **settings)
    assert abs(found.value - (1.25 + 2.0)) < 4.0 * found.error
    np.testing.assert_allclose(found.gradient, [1.0, -2.0], atol=0.15)
    assert found.loss < 0.15
    assert found.status is Status.OK


@METHODS
def test_a_price_is_that_of_black_and_scholes_and_its_gradient_the_hedge(settings):
    score = 0.35
    exact = 100.0 * stats.norm.cdf(score) - 100.0 * math.exp(-0.05) * stats.norm.cdf(score - 0.2)
    found = backward_sde(
        geometric(),
        lambda x: (x[:, 0] - 100.0).clamp(min=0.0),
        lambda t, x, y, z: -0.05 * y,
        [100.0],
        **FEW,
        **settings,
    )
    assert abs(found.value - exact) < 4.0 * found.error + 0.005 * exact  # of the steps of time
    assert found.gradient[0] == pytest.approx(0.2 * 100.0 * stats.norm.cdf(score), rel=0.06)


@METHODS
def test_a_quadratic_driver_is_that_of_cole_and_hopf(settings):
    """``Y(0) = -log E exp(-g)``; of a square ``-log prod exp(-x^2 / 3) / sqrt(3)``."""
    found = backward_sde(WALK, square, steering, [0.5, 0.0], **FEW, **settings)
    assert found.value == pytest.approx(math.log(3.0) + 0.25 / 3.0, rel=0.025)


def test_the_error_of_steps_falls_with_their_length():
    def off(n_steps):
        found = backward_sde(WALK, square, steering, [0.5], n_steps=n_steps, n_paths=40_000, random_state=1)
        return abs(found.value - 0.5 * math.log(3.0) - 0.25 / 3.0), found.error

    (coarse, _), (fine, error) = off(2), off(32)
    assert fine < 0.3 * coarse + 3.0 * error
    assert coarse > 6.0 * error


def test_two_rates_of_interest_cost_what_a_grid_says():
    lend, borrow, growth, sigma = 0.04, 0.06, 0.05, 0.2
    exact = price_with_two_rates(100.0, 0.5, growth=growth, sigma=sigma, lend=lend, borrow=borrow,
                                 strikes=(95.0, 105.0), n=1001, n_steps=1000)  # fmt: skip

    def spread(x):
        return (x[:, 0] - 95.0).clamp(min=0.0) - 2.0 * (x[:, 0] - 105.0).clamp(min=0.0)

    def driver(t, x, y, z):
        lent = (z[:, 0] / sigma - y).clamp(min=0.0)
        return -lend * y - (growth - lend) / sigma * z[:, 0] + (borrow - lend) * lent

    found = backward_sde(geometric(growth, sigma), spread, driver, [100.0], 0.5, n_paths=40_000, random_state=0)

    def one_rate(t, x, y, z):
        return -lend * y - (growth - lend) / sigma * z[:, 0]

    without = backward_sde(geometric(growth, sigma), spread, one_rate, [100.0], 0.5, n_paths=40_000, random_state=0)
    assert abs(found.value - exact) < 4.0 * found.error + 0.01 * exact
    assert abs(without.value - exact) > 4.0 * without.error  # so that the test can tell


def test_correlated_noise_goes_in_by_a_matrix():
    root = torch.tensor([[1.0, 0.0], [0.8, 0.6]], dtype=torch.float64)
    forward = (WALK[0], lambda t, x: root.expand(len(x), 2, 2))
    found = backward_sde(forward, lambda x: x[:, 0] * x[:, 1], start=[1.0, 2.0], **FEW)
    assert abs(found.value - 2.8) < 4.0 * found.error
    np.testing.assert_allclose(found.gradient, [2.0 * 1.0 + 1.0 * 0.8, 0.6], atol=0.1)


@pytest.mark.slow
def test_a_network_in_twenty_dimensions_is_within_a_hundredth_of_cole_and_hopf():
    n = 20

    def g(x):
        return (0.5 * (1.0 + square(x))).log()

    walk = (WALK[0], lambda t, x: torch.full_like(x, math.sqrt(2.0)))
    found = backward_sde(walk, g, steering, np.zeros(n), method="network", n_iterations=400, **FEW)
    mean, _ = integrate.quad(lambda s: stats.chi2.pdf(s, n) * 2.0 / (1.0 + 2.0 * s), 0.0, 200.0)
    assert found.value == pytest.approx(-math.log(mean), rel=0.01)
    assert found.loss < 0.3


def test_a_fitted_equation_goes_on_from_where_its_series_stands():
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"ds": np.arange(1.0, 21.0), "y": 1.0 + rng.normal(size=20).cumsum() / 4})
    forecaster = KnownSDEForecaster(
        lambda t, z, p: (-p.k * (z[:, 0] - 1.0),), states=["x"], parameters={"k": 0.3}, initial={"x": Normal(1, 2)},
        observed={"y": AdditiveNoise("x", sd=0.1)}, process_noise={"x": 0.25}, initial_time=0.0, random_state=0,
    ).fit(data)  # fmt: skip
    forward = fitted_forward(forecaster)
    mean = forecaster.predict(times=[22.0])["y"].iloc[0]
    found = backward_sde(forecaster, lambda x: x[:, 0], horizon=2.0 / forecaster.time_unit_, n_steps=40, **FEW)
    assert forward.names == ("x",)
    # the start is the mean of 64 states that the last value leaves, of a spread below its error
    assert abs(found.value - mean) < 4.0 * (found.error + 0.1 / 8.0 / math.sqrt(forecaster.n_draws or 1)) + 0.02
    assert found.gradient[0] == pytest.approx(0.25 * math.exp(-0.6), rel=0.1)


def test_the_same_seed_gives_the_same_value():
    first, second = (backward_sde(WALK, square, start=[0.5], n_steps=5, **FEW) for _ in range(2))
    assert first.value == second.value
    quick = [backward_sde(WALK, square, start=[0.5], **FEW, **{**QUICK, "n_iterations": 5}) for _ in range(2)]
    assert quick[0].value == quick[1].value


@METHODS
def test_paths_that_leave_the_numbers_are_told_by_the_status(settings):
    burst = (lambda t, x: 1e200 * x**3, WALK[1])
    found = backward_sde(burst, square, start=[1.0], **FEW, **{**settings, **({"n_iterations": 3} if settings else {})})
    assert found.status is Status.NON_FINITE


def test_what_is_wrong_is_named():
    for settings, error, words in (
        ({"g": lambda x: x}, ShapeError, r"g must give one number a path.*\(1000, 1\)"),
        ({"g": lambda x: 1.0}, DataError, "float"),
        ({"f": lambda t, x, y, z: z}, ShapeError, "f must give"),
        ({"start": None}, ParameterError, "start is missing"),
        ({"start": [[0.0]]}, ShapeError, r"one state \(d,\)"),
        ({"start": [np.nan]}, ParameterError, "finite"),
        ({"start": np.zeros(20)}, ParameterError, "method='network'"),
        ({"forward": 3}, ParameterError, "forward must be"),
        ({"forward": (WALK[0], lambda t, x: x[:, 0])}, ShapeError, "diffusion"),
        ({"method": "grid"}, ParameterError, "'regression'"),
        ({"n_steps": 0}, ParameterError, "n_steps"),
        ({"horizon": -1.0}, ParameterError, "horizon"),
    ):  # fmt: skip
        asked = {"forward": WALK, "g": square, "start": [0.0], "n_paths": 1000, "n_steps": 4, **settings}
        with pytest.raises(error, match=words):
            backward_sde(**asked)

"""Marginal likelihoods against published values, closed forms, differences and each other."""

from __future__ import annotations

from math import log, pi, sqrt

import numpy as np
import pytest
import torch

from tests.inference.known_examples import numbers, observations
from tests.inference.population.known_populations import WANG, decays, shared
from tsode.errors import ParameterError
from tsode.inference.effects.random_effects import RandomEffects
from tsode.inference.effects.space import Population
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise import AdditiveNoise, PoissonNoise
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods import METHODS
from tsode.inference.population.methods.quadrature import Quadrature
from tsode.inference.population.subjects import Subjects, apart
from tsode.inference.priors import LogNormal, Normal

BY_NODES = ("importance", "quadrature", "stochastic")


def total(name, subjects, theta) -> torch.Tensor:
    return METHODS[name]().log_likelihood(subjects, theta).value.sum()


@pytest.mark.parametrize(
    ("name", "truth", "error"),
    [
        ("focei", 39.458, 1e-3), ("foce", 39.207, 1e-3), ("fo", 39.213, 1e-3), ("laplace", 39.2268, 1e-3),
        ("quadrature", 39.3548, 1e-3), ("importance", 39.3548, 0.02),
    ],
)  # fmt: skip
def test_the_ten_subjects_of_wang_have_the_published_objective(name, truth, error):
    subjects = Subjects(decays())
    value = total(name, subjects, shared(subjects, {"ke": 0.5}))
    assert -2.0 * float(value) - 20.0 * log(2.0 * pi) == pytest.approx(truth, abs=error)


@pytest.mark.parametrize("name", METHODS)
def test_gradients_are_those_of_differences(name):
    effects = {"ke": LogNormal(log(0.3), 0.5)}
    subjects = Subjects(decays(WANG[:4], effects=effects, cv=LogNormal(log(0.2), 0.5)))
    theta = shared(subjects, {"ke": 0.6, "cv": 0.25, "omega_ke": 0.35}).requires_grad_()
    (slope,) = torch.autograd.grad(total(name, subjects, theta), theta)
    step, wanted = 1e-4, torch.zeros_like(slope)
    with torch.no_grad():
        for k in range(theta.shape[2]):
            move = torch.zeros_like(theta)
            move[..., k] = step
            up, down = (total(name, subjects, theta + sign * move) for sign in (1.0, -1.0))
            wanted[..., k] = (up - down) / (2.0 * step)
    error = float((slope - wanted).abs().max() / wanted.abs().max())
    # nodes stay where they are in the derivative, which an integral does not notice and a sum hardly
    assert error < (1e-2 if name in BY_NODES else 1e-4)


def lines() -> KnownDensity:
    """Lines whose level and slope vary and are correlated, with additive noise: a linear mixed model."""
    system = KnownSystem(
        lambda t, z, p: (p.b,), ["z"], {"a": Normal(1.0, 2.0), "b": Normal(0.5, 1.0), "sd": 0.4},
        {"z": lambda p: p.a}, {"y": AdditiveNoise("z", sd="sd")},
        population=Population(RandomEffects.read({("a", "b"): {"a": 0.7, "b": 0.3, ("a", "b"): -0.4}})),
    )  # fmt: skip
    values = np.array([[1.3, 2.1, 1.9, 3.0], [0.2, 0.4, 1.6, 1.1], [1.9, 1.2, 2.4, 2.2]])
    return KnownDensity(system, observations([0.0, 1.0, 2.5, 4.0], values[..., None], ids="abc"))


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("importance", "stochastic")])
def test_a_linear_mixed_model_has_its_closed_form(name):
    subjects = Subjects(lines())
    value = METHODS[name]().log_likelihood(subjects, shared(subjects, {"a": 1.2, "b": 0.3})).value[0, 0]
    times = subjects.joint.data.times[0]
    design = torch.stack([torch.ones_like(times), times], dim=1)
    spread = numbers([[0.49, -0.4 * 0.21], [-0.4 * 0.21, 0.09]])
    covariance = design @ spread @ design.T + 0.16 * torch.eye(4, dtype=torch.float64)
    truth = torch.distributions.MultivariateNormal(design @ numbers([1.2, 0.3]), covariance)
    torch.testing.assert_close(value, truth.log_prob(subjects.joint.data.values[..., 0]), rtol=0.0, atol=1e-8)


@pytest.mark.parametrize("name", METHODS)
def test_a_series_is_worth_the_same_whoever_is_beside_it(name):
    few, many = (Subjects(decays(values)) for values in (WANG[:2], WANG))
    ours, theirs = (METHODS[name]().log_likelihood(x, shared(x, {"ke": 0.45})).value for x in (few, many))
    torch.testing.assert_close(ours, theirs[..., :2], rtol=0.0, atol=1e-8)


@pytest.mark.parametrize("name", METHODS)
def test_series_apart_have_the_values_of_the_joint(name):
    joint = decays(WANG[:3])
    whole, single = Subjects(joint), Subjects(apart(joint))
    of_all = METHODS[name]().log_likelihood(whole, shared(whole, {"ke": 0.45})).value[0, 0]
    of_each = METHODS[name]().log_likelihood(single, shared(single, {"ke": 0.45})).value[:, 0, 0]
    torch.testing.assert_close(of_all, of_each, rtol=0.0, atol=1e-8)


def censored() -> KnownDensity:
    values = [[6.1, 3.9, 2.0], [5.2, 2.6, 2.0], [7.3, 5.1, 2.9]]
    return decays(values, AdditiveNoise("c", sd="sd", below=2.0), times=(1.0, 2.0, 4.0), sd=0.5)


@pytest.mark.parametrize("name", ["fo", "foce", "focei"])
def test_methods_for_normal_noise_refuse_censored_values_by_name(name):
    with pytest.raises(ParameterError, match=f"'{name}' has no probability.*'y'.*marginal='laplace'"):
        MarginalDensity(censored(), METHODS[name]())


@pytest.mark.parametrize("name", ["fo", "foce", "focei"])
def test_methods_for_normal_noise_refuse_counts_by_name(name):
    with pytest.raises(ParameterError, match=f"'{name}' is for normal.*'y' has PoissonNoise"):
        MarginalDensity(decays([[6.0, 3.0]], PoissonNoise("c"), cv=0.1), METHODS[name]())


@pytest.mark.parametrize("kind", ["censored", "counts"])
def test_laplace_agrees_with_quadrature_where_noise_is_not_normal(kind):
    joint = censored() if kind == "censored" else decays([[6.0, 3.0], [8.0, 7.0]], PoissonNoise("c"), cv=0.1)
    subjects = Subjects(joint)
    theta = shared(subjects, {"ke": 0.45})
    by_laplace = METHODS["laplace"]().log_likelihood(subjects, theta).value
    exact = Quadrature(n=31).log_likelihood(subjects, theta).value
    torch.testing.assert_close(by_laplace, exact, rtol=0.0, atol=0.03)
    assert float((by_laplace - exact).abs().max()) > 1e-7  # an approximation, of other nodes


def test_quadrature_refuses_four_effects_by_name():
    names = ["a", "b", "c", "d"]
    system = KnownSystem(
        lambda t, z, p: (-(p.a + p.b + p.c + p.d) * z[:, 0],), ["z"], {name: LogNormal(-2.0, 0.5) for name in names},
        {"z": 10.0}, {"y": AdditiveNoise("z", sd=sqrt(0.1))}, population=Population(RandomEffects.read(names)),
    )  # fmt: skip
    joint = KnownDensity(system, observations([1.0], [[5.0]]))
    with pytest.raises(ParameterError, match="at most 3 random effects, and there are 4"):
        MarginalDensity(joint, Quadrature())

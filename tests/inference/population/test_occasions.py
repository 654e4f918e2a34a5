"""Occasions: marginal likelihoods against closed forms, and when parameters change."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest
import torch

from tests.inference.known_examples import doses, numbers
from tests.inference.population.known_populations import decay_rates, decays, shared
from tests.inference.population.two_levels import numbered, two_levels
from tsode.errors import DataError, ParameterError
from tsode.inference.dosing import Dosing
from tsode.inference.noise import AdditiveNoise, ProportionalNoise
from tsode.inference.population.methods import METHODS
from tsode.inference.population.methods.importance import Importance
from tsode.inference.population.methods.quadrature import Quadrature
from tsode.inference.population.subjects import Subjects
from tsode.inference.priors import LogNormal, Normal

TIMES = np.array([0.5, 1.5, 2.0, 3.0, 4.5])
BEGINS = ([0.0, 2.0], [0.0], [0.0, 1.0])  # of occasions, of three series
OMEGA, OMEGA_OCCASION, SD = 0.3, 0.5, 0.4


def slopes():
    """Lines whose slope varies among series and among occasions, seen with additive noise; a linear model."""
    values = [[1.3, 2.1, 1.9, 3.0, 3.3], [0.2, 0.4, 1.6, 1.1, 2.0], [1.9, 1.2, 2.4, 2.2, 1.1]]
    system = {
        "rates": lambda t, z, p: (p.b,), "states": ["z"], "parameters": {"b": Normal(0.5, 1.0), "sd": SD},
        "initial": {"z": 0.2}, "observed": {"y": AdditiveNoise("z", sd="sd")},
    }  # fmt: skip
    return two_levels(system, {"b": OMEGA}, {"b": OMEGA_OCCASION}, TIMES, values, numbered(BEGINS))


def closed_form(begins, values) -> float:
    """Time spent on each occasion is what multiplies its slope."""
    ends = [*begins[1:], np.inf]
    on = np.stack([np.clip(np.minimum(TIMES, end) - begin, 0.0, None) for begin, end in zip(begins, ends)], axis=1)
    spread = OMEGA**2 * np.outer(TIMES, TIMES) + OMEGA_OCCASION**2 * on @ on.T + SD**2 * np.eye(len(TIMES))
    law = torch.distributions.MultivariateNormal(numbers(0.2 + 0.7 * TIMES), numbers(spread))
    return float(law.log_prob(numbers(values)))


@pytest.mark.parametrize("name", METHODS)
def test_two_levels_of_a_linear_model_have_their_closed_form(name):
    joint = slopes()
    subjects = Subjects(joint)
    assert subjects.standard == ("eta_b", "kappa_b_1", "kappa_b_2")
    by_draws = issubclass(METHODS[name], Importance)
    method = METHODS[name](n=2**13) if by_draws else METHODS[name]()
    found = method.log_likelihood(subjects, shared(subjects, {"b": 0.7})).value[0, 0]
    truth = [closed_form(*pair) for pair in zip(BEGINS, joint.data.values[..., 0].numpy())]
    # weights of draws from Student's t are not all the same for a normal law
    np.testing.assert_allclose(found, truth, rtol=0.0, atol=1e-2 if by_draws else 1e-6)


@pytest.mark.parametrize("name", ["fo", "foce", "focei", "laplace", "quadrature"])
def test_of_one_occasion_the_variances_of_both_levels_add_up(name):
    values = [[10.7, 3.7, 2.0], [10.4, 6.4, 4.1], [9.9, 5.9, 3.1]]
    system = {
        "rates": decay_rates, "states": ["c"], "parameters": {"ke": LogNormal(log(0.5), 1.0), "cv": sqrt(0.1)},
        "initial": {"c": 10.0}, "observed": {"y": ProportionalNoise("c", cv="cv")},
    }  # fmt: skip
    times = (0.0, 1.0, 2.0)
    both = Subjects(two_levels(system, {"ke": 0.15}, {"ke": 0.2}, times, values, numbered([[0.0]] * 3)))
    one = Subjects(decays(values, effects={"ke": 0.25}, times=times, cv=sqrt(0.1)))
    method = Quadrature(n=31) if name == "quadrature" else METHODS[name]()
    ours, theirs = (method.log_likelihood(x, shared(x, {"ke": 0.5})).value for x in (both, one))
    # nodes lie elsewhere in two dimensions than in one
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=1e-5 if name == "quadrature" else 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["focei", "laplace", "quadrature"])
def test_gradients_by_the_spread_of_occasions_are_those_of_differences(name):
    joint = two_levels(
        {"rates": decay_rates, "states": ["c"], "parameters": {"ke": LogNormal(log(0.5), 1.0)},
         "initial": {"c": 10.0}, "observed": {"y": ProportionalNoise("c", cv=0.2)}},
        {"ke": LogNormal(-1.2, 0.5)}, {"ke": LogNormal(-1.2, 0.5)}, (0.5, 1.0, 2.0), [[8.0, 6.0, 4.4]],
        numbered([[0.0, 1.0]]),
    )  # fmt: skip
    subjects = Subjects(joint)
    theta = shared(subjects, {"ke": 0.5, "omega_ke": 0.3, "omega_occasion_ke": 0.2}).requires_grad_()

    def value(at):
        return METHODS[name]().log_likelihood(subjects, at).value.sum()

    (slope,) = torch.autograd.grad(value(theta), theta)
    with torch.no_grad():
        for k in range(3):
            move = torch.zeros_like(theta)
            move[..., k] = 1e-4
            difference = float(value(theta + move) - value(theta - move)) / 2e-4
            assert float(slope[0, 0, k]) == pytest.approx(difference, abs=(1e-2 if name == "quadrature" else 1e-4))


def kappas(joint, *values):
    """Coordinates at which one series has these effects on its occasions."""
    point = {"eta_ke": 0.0, "ke": 0.5} | {f"kappa_ke_{k + 1}": x for k, x in enumerate(values)}
    return joint.space.pack(point | dict.fromkeys(set(joint.names) - set(point), 0.0))


def test_an_occasion_that_comes_back_has_the_effect_that_it_had():
    values = [[5.0, 4.0, 3.0]]
    system = {
        "rates": decay_rates, "states": ["c"], "parameters": {"ke": LogNormal(log(0.5), 1.0)},
        "initial": {"c": 10.0}, "observed": {"y": AdditiveNoise("c", sd=0.3)},
    }  # fmt: skip
    known = numbered([[0.0, 1.0, 2.0]], [[0, 1, 0]])
    joint = two_levels(system, {"ke": 0.3}, {"ke": 1.0}, (1.0, 2.0, 3.0), values, known)
    states, _ = joint.trajectories(kappas(joint, 0.4, -0.3), joint.data.times)
    first, second = 0.5 * np.exp(0.4), 0.5 * np.exp(-0.3)
    truth = 10.0 * np.exp(-np.cumsum([first, second, first]))
    np.testing.assert_allclose(states.flatten(), truth, rtol=1e-8)


def test_what_is_seen_at_the_time_of_a_dose_is_of_the_occasion_before_it():
    values = [[6.0, 4.0, 9.0]]
    system = {
        "rates": decay_rates, "states": ["c"],
        "parameters": {"ke": LogNormal(log(0.5), 1.0), "v": LogNormal(0.0, 1.0), "f": LogNormal(0.0, 0.5)},
        "initial": {"c": 0.0}, "doses": {"c": Dosing(bioavailability="f")},
        "observed": {"y": AdditiveNoise(lambda t, z, p: z[:, 0] / p.v, sd=0.3)},
    }  # fmt: skip
    known = numbered([[0.0, 2.0]])
    joint = two_levels(
        system, {"ke": 0.3}, {"ke": 1.0, "v": 0.5, "f": 0.2}, (1.0, 2.0, 3.0), values, known,
        doses([0.0, 2.0], [10.0, 10.0]),
    )  # fmt: skip
    point = {"kappa_ke_1": 0.1, "kappa_ke_2": -0.2, "kappa_v_1": 0.3, "kappa_v_2": -0.6, "kappa_f_1": -1.0,
             "kappa_f_2": 0.7, "ke": 0.5, "v": 1.2, "f": 0.8, "eta_ke": 0.0}  # fmt: skip
    with torch.no_grad():
        found = joint.evaluate(joint.space.pack(point)).predictions["y"][0]
    ke, v, f = (
        typical * np.exp(omega * np.array([point[f"kappa_{name}_1"], point[f"kappa_{name}_2"]]))
        for name, typical, omega in (("ke", 0.5, 1.0), ("v", 1.2, 0.5), ("f", 0.8, 0.2))
    )
    trough = 10.0 * f[0] * np.exp(-2.0 * ke[0])
    truth = [10.0 * f[0] * np.exp(-ke[0]) / v[0], trough / v[0], (trough + 10.0 * f[1]) * np.exp(-ke[1]) / v[1]]
    np.testing.assert_allclose(found, truth, rtol=1e-8)


def test_effects_of_occasions_may_be_correlated():
    values = [[6.0, 4.0, 9.0]]
    system = {
        "rates": lambda t, z, p: (p.a, p.b), "states": ["x", "y"],
        "parameters": {"a": Normal(0.0, 1.0), "b": Normal(0.0, 1.0)}, "initial": {"x": 0.0, "y": 0.0},
        "observed": {"y": AdditiveNoise("x", sd=0.3)},
    }  # fmt: skip
    joint = two_levels(
        system, ["a"], {("a", "b"): {"a": 0.5, "b": 0.2, ("a", "b"): 0.6}}, (1.0, 2.0, 3.0), values,
        numbered([[0.0, 2.0]]),
    )  # fmt: skip
    point = {"a": 0.0, "b": 0.0, "omega_a": 0.3, "eta_a": 0.0, "kappa_a_1": 1.0, "kappa_b_1": -1.0, "kappa_a_2": 0.0,
             "kappa_b_2": 2.0}  # fmt: skip
    states, _ = joint.trajectories(joint.space.pack(point), numbers([[2.0, 3.0]]))
    a, b = 0.5 * numbers([1.0, 0.0]), 0.2 * numbers([0.6 - 0.8, 0.8 * 2.0])
    truth = torch.stack([numbers([2.0 * a[0], 2.0 * a[0] + a[1]]), numbers([2.0 * b[0], 2.0 * b[0] + b[1]])], dim=-1)
    torch.testing.assert_close(states[0, 0, 0], truth, rtol=1e-9, atol=1e-9)


def test_occasions_that_nothing_tells_of_or_of_no_parameter_are_refused_by_name():
    system = {
        "rates": decay_rates, "states": ["c"], "parameters": {"ke": LogNormal(log(0.5), 1.0)},
        "initial": {"c": 10.0}, "observed": {"y": AdditiveNoise("c", sd=0.3)},
    }  # fmt: skip
    with pytest.raises(DataError, match="no input 'visit'"):
        two_levels(system, ["ke"], ["ke"], (1.0,), [[6.0]], None)
    with pytest.raises(ParameterError, match="occasion_effects= names 'kee'"):
        two_levels(system, ["ke"], ["kee"], (1.0,), [[6.0]], numbered([[0.0]]))

"""Correlated errors of two channels against closed forms, and simulated ones against their correlation."""

from __future__ import annotations

from dataclasses import replace
from math import log, nan

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from tests.inference.known_examples import numbers, observations
from tests.inference.population.known_populations import shared
from tsode.errors import DataError, ParameterError
from tsode.inference.effects.random_effects import RandomEffects
from tsode.inference.effects.space import Population
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise import AdditiveNoise, CombinedNoise, LogNormalNoise, PoissonNoise, ProportionalNoise
from tsode.inference.population.given_effects import simulate_population
from tsode.inference.population.methods import METHODS
from tsode.inference.population.methods.base import information
from tsode.inference.population.residuals import residuals
from tsode.inference.population.subjects import Subjects, apart, derivatives, normal_cells
from tsode.inference.priors import LogNormal, Normal
from tsode.inference.simulated import simulate, without_values

RHO = 0.6
TIMES = [0.0, 1.0, 2.5, 4.0]
VALUES = np.array([
    [[1.3, 2.1], [2.1, nan], [1.9, 5.2], [3.0, 6.3]],
    [[0.2, 1.4], [nan, 2.0], [1.6, 3.3], [1.1, 3.9]],
    [[1.9, 2.7], [1.2, 4.4], [2.4, 4.1], [nan, nan]],
])  # fmt: skip
POINT = {"a": 1.2, "b": 0.3}


def effect(t, z, p):
    return 2.0 * z[:, 0] + 0.5


def line(conc=None, other=None, pairs=((("conc", "effect"), RHO),), **others) -> KnownSystem:
    """A line of level a and slope b, of which two channels are seen."""
    return KnownSystem(
        lambda t, z, p: (p.b,), ["z"], {"a": Normal(1.0, 2.0), "b": Normal(0.5, 1.0)}, {"z": lambda p: p.a},
        {"conc": conc or AdditiveNoise("z", sd=0.4), "effect": other or AdditiveNoise(effect, sd=0.7)},
        correlated_errors=dict(pairs), **others,
    )  # fmt: skip


def varied(conc=None, other=None, **others) -> Subjects:
    """The same, of which each series has its own level and slope."""
    population = Population(RandomEffects.read({("a", "b"): {"a": 0.7, "b": 0.3, ("a", "b"): -0.4}}))
    system = line(conc, other, population=population, **others)
    return Subjects(KnownDensity(system, observations(TIMES, VALUES, ids="abc")))


def covariance(sds: np.ndarray, rho: float = RHO) -> np.ndarray:
    """Of the noise of both channels at some times, (m c) -> (m c m c), flat."""
    every = np.zeros((sds.size, sds.size))
    for k in range(len(sds)):
        own = np.array([[1.0, rho], [rho, 1.0]]) * np.outer(sds[k], sds[k])
        every[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = own
    return every


def marginal(row: int, noise: np.ndarray) -> float:
    """Log density of a series of the linear population whose noise has this covariance."""
    x = np.stack([np.ones(4), TIMES], axis=1)
    design = np.stack([x, 2.0 * x], axis=1).reshape(8, 2)
    mean = design @ [1.2, 0.3] + np.tile([0.0, 0.5], 4)
    spread = np.array([[0.49, -0.4 * 0.21], [-0.4 * 0.21, 0.09]])
    seen = ~np.isnan(VALUES[row].ravel())
    every = design @ spread @ design.T + noise
    return multivariate_normal(mean[seen], every[np.ix_(seen, seen)]).logpdf(VALUES[row].ravel()[seen])


@pytest.mark.parametrize("is_log", [(False, False), (True, False), (False, True), (True, True)])
def test_the_likelihood_is_that_of_bivariate_normal_and_log_normal_laws_where_both_are_seen(is_log):
    kinds = [LogNormalNoise if x else AdditiveNoise for x in is_log]
    system = line(
        kinds[0]("z", sd=0.4), kinds[1](effect, sd=0.7), [(("conc", "effect"), Normal(0, 0.5, lower=-1, upper=1))]
    )
    density = KnownDensity(system, observations(TIMES, VALUES, ids="abc"), 1)
    u = density.space.pack({**POINT, "corr_error_conc_effect": RHO})
    found = float(sum(score.sum() for score in density.pointwise(u).values()))
    truth = 0.0
    level = 1.2 + 0.3 * np.array(TIMES)
    for row in VALUES:
        for y, z in zip(row, level):
            seen = np.flatnonzero(~np.isnan(y))
            if not len(seen):
                continue
            mean = np.array([z, 2.0 * z + 0.5])
            logs = np.array(is_log)
            y, mean = np.where(logs, np.log(y), y), np.where(logs, np.log(mean), mean)
            own = covariance(np.array([[0.4, 0.7]]))[np.ix_(seen, seen)]
            truth += multivariate_normal(mean[seen], own).logpdf(y[seen]) - (y * logs)[seen].sum()
    assert found == pytest.approx(truth, abs=1e-10)


@pytest.mark.parametrize("censored", ["conc", "effect"])
def test_a_censored_value_counts_by_its_mass_given_its_partner(censored):
    noises = {"conc": AdditiveNoise("z", sd=0.4), "effect": AdditiveNoise(effect, sd=0.7)}
    noises[censored] = replace(noises[censored], below=1.0)
    values = [[0.9, 1.8]] if censored == "conc" else [[1.7, 0.8]]
    density = KnownDensity(line(*noises.values()), observations([0.0], values), 1)
    found = float(sum(score.sum() for score in density.pointwise(density.space.pack(POINT)).values()))
    means, sds = np.array([1.2, 2.9]), np.array([0.4, 0.7])
    seen = 1 if censored == "conc" else 0
    error = (values[0][seen] - means[seen]) / sds[seen]
    mean, sd = means[1 - seen] + RHO * sds[1 - seen] * error, sds[1 - seen] * np.sqrt(1.0 - RHO**2)
    truth = norm(means[seen], sds[seen]).logpdf(values[0][seen]) + norm(mean, sd).logcdf(1.0)
    assert found == pytest.approx(truth, abs=1e-10)
    with pytest.raises(ParameterError, match="cannot be left out alone"):
        density.of_values()


def test_values_of_a_pair_that_are_both_censored_are_refused_by_name():
    noises = AdditiveNoise("z", sd=0.4, below=1.0), AdditiveNoise(effect, sd=0.7, below=1.0)
    with pytest.raises(DataError, match=r"series 'b' has a time when the values of both are beyond"):
        KnownDensity(line(*noises), observations([0.0], [[[2.0, 0.5]], [[0.5, 0.5]]], ids="ab"))


def test_a_value_left_out_is_judged_given_its_partner():
    density = KnownDensity(line(), observations(TIMES, VALUES, ids="abc"), 1)
    u = density.space.pack(POINT)
    found = density.of_values().pointwise(u)
    cells = density.cells
    means = {"conc": 1.2, "effect": 2.9}  # at time 0, the first cell of both
    for one, other, sds in (("conc", "effect", (0.4, 0.7)), ("effect", "conc", (0.7, 0.4))):
        error = (float(cells[other].values[0]) - means[other]) / sds[1]
        law = norm(means[one] + RHO * sds[0] * error, sds[0] * np.sqrt(1.0 - RHO**2))
        assert float(found[one][0, 0, 0]) == pytest.approx(law.logpdf(float(cells[one].values[0])), abs=1e-10)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("importance", "stochastic")])
def test_a_linear_population_with_correlated_noise_has_its_closed_form(name):
    subjects = varied()
    found = METHODS[name]().log_likelihood(subjects, shared(subjects, POINT)).value[0, 0]
    truth = [marginal(row, covariance(np.tile([0.4, 0.7], (4, 1)))) for row in range(3)]
    np.testing.assert_allclose(found.detach().numpy(), truth, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("name", ["fo", "foce"])
def test_noise_of_the_typical_series_has_its_closed_form_where_its_width_changes(name):
    subjects = varied(CombinedNoise("z", sd=0.4, cv=0.3), ProportionalNoise(effect, cv=0.2))
    found = METHODS[name]().log_likelihood(subjects, shared(subjects, POINT)).value[0, 0]
    level = 1.2 + 0.3 * np.array(TIMES)
    sds = np.stack([np.sqrt(0.16 + (0.3 * level) ** 2), 0.2 * (2.0 * level + 0.5)], axis=1)
    truth = [marginal(row, covariance(sds)) for row in range(3)]
    np.testing.assert_allclose(found.detach().numpy(), truth, rtol=0.0, atol=1e-6)


def test_expected_information_is_the_curvature_of_the_divergence_of_both_laws():
    subjects = varied(CombinedNoise("z", sd=0.4, cv=0.3), ProportionalNoise(effect, cv=0.2))
    theta = shared(subjects, POINT)
    eta = numbers([[[[0.3, -0.4]] * 3]]).requires_grad_()
    point = subjects.at(theta, eta)
    by_mean, by_log_sd = derivatives([point.mean, point.log_sd], eta, False)
    series = normal_cells(subjects.joint, "focei").series
    found = information(subjects, point.links, by_mean, by_log_sd, point.log_sd, series)[0, 0].detach()
    times = numbers(TIMES)
    root = numbers([[0.7, 0.0], [-0.4 * 0.3, 0.3 * np.sqrt(1.0 - 0.16)]])

    def law(effects, seen):
        a, b = numbers([1.2, 0.3]) + root @ effects
        level = a + b * times
        mean = torch.stack([level, 2.0 * level + 0.5], dim=1)
        sd = torch.stack([(0.16 + (0.3 * level) ** 2).sqrt(), 0.2 * mean[:, 1]], dim=1).flatten()
        together = torch.kron(torch.eye(4, dtype=torch.float64), numbers([[1.0, RHO], [RHO, 1.0]]))
        every = together * sd[:, None] * sd
        return torch.distributions.MultivariateNormal(mean.flatten()[seen], every[seen][:, seen])

    at = eta.detach()[0, 0, 0]
    for row in range(3):
        seen = torch.from_numpy(~np.isnan(VALUES[row].ravel()))
        divergence = lambda x: torch.distributions.kl_divergence(law(at, seen), law(x, seen))  # noqa: B023, E731
        truth = torch.autograd.functional.hessian(divergence, at) + torch.eye(2, dtype=torch.float64)
        torch.testing.assert_close(found[row], truth, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fo", "foce", "focei", "laplace"])
def test_gradients_by_the_correlation_are_those_of_differences(name):
    pairs = [(("conc", "effect"), Normal(0, 0.5, lower=-1, upper=1))]
    subjects = varied(ProportionalNoise("z", cv=0.3), LogNormalNoise(effect, sd=0.2), pairs=pairs)
    theta = shared(subjects, {**POINT, "corr_error_conc_effect": RHO}).requires_grad_()
    (slope,) = torch.autograd.grad(METHODS[name]().log_likelihood(subjects, theta).value.sum(), theta)
    for k in range(theta.shape[2]):
        move = torch.zeros_like(theta)
        move[..., k] = 1e-4
        with torch.no_grad():
            up, down = (METHODS[name]().log_likelihood(subjects, theta + x * move).value.sum() for x in (1.0, -1.0))
        assert float(slope[0, 0, k]) == pytest.approx(float(up - down) / 2e-4, rel=1e-4, abs=1e-5)


def test_conditional_weighted_residuals_are_decorrelated_by_the_covariance_of_correlated_noise():
    subjects = Subjects(apart(varied().joint))
    found = residuals(subjects, shared(subjects, POINT)[0, 0], torch.zeros(3, 1, 2, dtype=torch.float64), "symmetric")
    # the squares of a series sum to the quadratic form of its closed form
    cells = [(of.series, of.column, 2 * of.column + c) for c, of in enumerate(subjects.joint.cells.values())]
    series = torch.cat([one[0] for one in cells]).numpy()
    x = np.stack([np.ones(4), TIMES], axis=1)
    design = np.stack([x, 2.0 * x], axis=1).reshape(8, 2)
    spread = np.array([[0.49, -0.4 * 0.21], [-0.4 * 0.21, 0.09]])
    every = design @ spread @ design.T + covariance(np.tile([0.4, 0.7], (4, 1)))
    mean = design @ [1.2, 0.3] + np.tile([0.0, 0.5], 4)
    for row in range(3):
        seen = ~np.isnan(VALUES[row].ravel())
        error = (VALUES[row].ravel() - mean)[seen]
        truth = error @ np.linalg.solve(every[np.ix_(seen, seen)], error)
        assert (found.cwres[series == row] ** 2).sum() == pytest.approx(truth, rel=1e-6)


def test_simulated_populations_have_correlated_noise_at_one_time_and_none_across_times():
    # effects of next to no spread: what is left is noise
    population = Population(RandomEffects.read({"a": 1e-8}))
    joint = KnownDensity(line(population=population), observations(TIMES, VALUES, ids="abc"))
    subjects = Subjects(apart(joint))
    n = 4000
    drawn, _ = simulate_population(subjects, shared(subjects, POINT)[0, 0], n, torch.Generator().manual_seed(1))
    places = [{(int(s), int(c)): k for k, (s, c) in enumerate(zip(of.series, of.column))} for of in
              joint.cells.values()]  # fmt: skip
    conc, other = (x.numpy() for x in drawn.values())
    for row in range(3):
        for first in range(4):
            for second in range(4):
                if (row, first) in places[0] and (row, second) in places[1]:
                    found = np.corrcoef(conc[:, places[0][row, first]], other[:, places[1][row, second]])[0, 1]
                    assert found == pytest.approx(RHO if first == second else 0.0, abs=4.0 / np.sqrt(n))


def test_data_sets_of_the_prior_have_correlated_noise_by_their_own_correlation():
    data = observations(np.arange(400.0), np.ones((400, 2)))
    still = [(("conc", "effect"), Normal(0.0, 0.5, lower=-1, upper=1))]
    drawn = simulate(KnownDensity(line(pairs=still), without_values(data)), 5, torch.Generator().manual_seed(0))
    density = KnownDensity(line(pairs=still), data)
    values = density.space.unpack(drawn.u).values
    level = values["a"] + values["b"] * data.times[0]
    errors = drawn.values[0, :, 0] - torch.stack([level[0], 2.0 * level[0] + 0.5], dim=-1)
    for k in range(5):
        found = np.corrcoef(errors[k].numpy().T)[0, 1]
        assert found == pytest.approx(float(values["corr_error_conc_effect"][0, k, 0]), abs=4.0 / np.sqrt(400))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("conc", "takes a list of pairs of channels"),
        (("conc", "effect"), "takes a list of pairs of channels"),
        ([("conc", "effect", "other")], "takes a list of pairs of channels"),
        ([("conc", "conc")], "names 'conc' twice"),
        ([("conc", "effect"), ("effect", "other")], "names 'effect' twice"),
        ([("conc", "efect")], "names 'efect', which is no channel. Those are: conc, effect"),
        ({("conc", "effect"): 1.0}, "lies between -1 and 1, but came 1.0"),
        ({("conc", "effect"): LogNormal(0.0, 1.0)}, "lies between -1 and 1"),
        ([("conc", "count")], "channel 'count' has PoissonNoise"),
    ],
)
def test_pairs_that_cannot_be_are_refused_by_name(pairs, message):
    plain = {
        "conc": AdditiveNoise("z", sd=0.4),
        "effect": AdditiveNoise("z", sd=0.4),
        "other": AdditiveNoise("z", sd=1),
    }
    with pytest.raises(ParameterError, match=message):
        line().with_(observed={**plain, "count": PoissonNoise("z")}, correlated_errors=pairs)


def test_a_parameter_of_the_name_of_a_correlation_is_refused():
    with pytest.raises(ParameterError, match="There is a parameter 'corr_error_conc_effect' already"):
        line().with_(parameters={"corr_error_conc_effect": Normal(log(2.0), 1.0)})

"""Evidence of filters on stochastic systems against Kalman's, and through events, inputs and drifting parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.assimilation.kalman import kalman
from tsode.assimilation.density import FilteredDensity
from tsode.assimilation.filters import ExtendedKalman, ParticleFilter, SquareRootEnsemble, UnscentedKalman
from tsode.assimilation.forecast import Branches
from tsode.assimilation.inflation import Inflation
from tsode.assimilation.process_noise import StateNoise
from tsode.assimilation.system import stochastic
from tsode.errors import ParameterError
from tsode.inference import AdditiveNoise, HalfNormal, KnownSystem, LogNormal, LogNormalNoise, Normal, Observations

EXACT = [ExtendedKalman(), UnscentedKalman(), SquareRootEnsemble(20, inflation=Inflation())]


def oscillator_rates(t, z, p):
    return z[:, 1], -p.k * z[:, 0] - 0.3 * z[:, 1] + 1.0


def oscillator(sd_y="s", **noise):
    base = KnownSystem(
        oscillator_rates, ["x", "v"], {"k": LogNormal(0, 0.5), "s": LogNormal(0, 0.5)},
        {"x": Normal(0, 2), "v": 0.5},
        {"x": AdditiveNoise("x", sd=0.3), "y": AdditiveNoise(lambda t, z, p: z[:, 0] + 2 * z[:, 1], sd=sd_y)},
    )  # fmt: skip
    return stochastic(base, noise or {"v": HalfNormal(1.0)})


@pytest.fixture(scope="module")
def data():
    """Three series of two channels; in one row nothing was seen, in others one channel."""
    rng = np.random.default_rng(0)
    times, values = np.sort(rng.uniform(0, 6, (3, 12)), axis=1), rng.normal(size=(3, 12, 2))
    values[0, 3] = np.nan
    values[1, 5, 0] = values[2, 7, 1] = np.nan
    return Observations(["a", "b", "c"], torch.zeros(3).double(), torch.tensor(times), torch.tensor(values))


def points(density, n=4):
    return torch.randn(1, n, len(density.names), dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.5


def truth(data, row, k, s, q, r_x=0.09):
    a, b = np.array([[0.0, 1.0], [-k, -0.3]]), np.array([0.0, 1.0])
    return kalman(
        a, b, np.diag([0.0, q**2]), np.array([0.0, 0.5]), np.diag([4.0, 0.0]), data.times[row].numpy(),
        data.values[row].numpy(), np.array([[1.0, 0.0], [1.0, 2.0]]), np.array([r_x, s**2]),
    )  # fmt: skip


@pytest.mark.parametrize("filter", EXACT, ids=lambda f: type(f).__name__)
def test_evidence_of_a_linear_system_is_kalmans_and_its_gradient_that_of_differences(data, filter):
    density = FilteredDensity(oscillator(), data, filter)
    assert density.is_linear
    u = points(density)
    likelihood = (density.log_prob(u) - density.space.log_prior(u))[0]
    for point, found in zip(density.space.constrain(u)[0].tolist(), likelihood.tolist()):
        assert found == pytest.approx(sum(truth(data, row, *point)[0] for row in range(3)), abs=1e-10)
    at = u.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(density.log_prob(at).sum(), at)
    step = 1e-5 * torch.eye(3).double()
    differences = [(density.log_prob(u + h) - density.log_prob(u - h))[0] / 2e-5 for h in step]
    torch.testing.assert_close(gradient[0], torch.stack(differences, dim=-1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("filter", EXACT[:2], ids=lambda f: type(f).__name__)
def test_noise_of_1e_12_beside_large_process_noise_keeps_ten_digits(data, filter):
    system = oscillator(v=1e3).with_(observed={
        "x": AdditiveNoise("x", sd=1e-6), "y": AdditiveNoise(lambda t, z, p: z[:, 0] + 2 * z[:, 1], sd="s"),
    })  # fmt: skip
    density = FilteredDensity(system, data, filter)
    u = points(density, 2)
    likelihood = (density.log_prob(u) - density.space.log_prior(u))[0]
    for (k, s), found in zip(density.space.constrain(u)[0].tolist(), likelihood.tolist()):
        wanted = sum(truth(data, row, k, s, 1e3, 1e-12)[0] for row in range(3))
        assert found == pytest.approx(wanted, rel=1e-10)


def test_steps_of_an_equation_taken_as_nonlinear_are_exact_for_the_extended_filter(data):
    exact = FilteredDensity(oscillator(), data, ExtendedKalman())
    stepped = FilteredDensity(oscillator(), data, ExtendedKalman(), step=0.4)
    stepped.is_linear = False
    u = points(exact)
    torch.testing.assert_close(stepped.log_prob(u), exact.log_prob(u), rtol=0, atol=1e-11)


def test_an_equation_that_is_not_linear_is_told_from_one_that_is(data):
    assert not FilteredDensity(oscillator(v=StateNoise(0.3)), data, ExtendedKalman()).is_linear

    def bent(t, z, p):
        return z[:, 1], -p.k * torch.sin(z[:, 0])

    system = oscillator()
    assert not FilteredDensity(system.with_(rates=bent), data, ExtendedKalman()).is_linear


def test_states_given_all_data_are_those_of_rauch_tung_and_striebel(data):
    density = FilteredDensity(oscillator(), data, ExtendedKalman(), n_problems=1)
    u = points(density, 1)
    rows = density.rows(density.space.unpack(u).values)
    draws = density.draws(1)
    branches = Branches(density, rows, density.passed(rows, draws, keep=True), draws)
    smoothed = branches._smoothed_at(data.times)
    point = density.space.constrain(u)[0, 0].tolist()
    for row in range(3):
        for k, (mean, cov) in enumerate(truth(data, row, *point)[2]):
            place = row * 12 + k
            np.testing.assert_allclose(smoothed.mean[place], mean, atol=1e-9)
            np.testing.assert_allclose(smoothed.root[place] @ smoothed.root[place].mT, cov, atol=1e-9)


def test_log_normal_values_of_an_exponential_are_exact_on_their_logarithms(data):
    """The same as additive noise of the logarithms, less the logarithms themselves."""
    plain = stochastic(
        KnownSystem(lambda t, z, p: (-p.k * z[:, 0],), ["x"], {"k": LogNormal(0, 0.5)}, {"x": Normal(0, 1)},
                    {"y": AdditiveNoise("x", sd=0.2)}),
        {"x": 0.5},
    )  # fmt: skip
    exponential = plain.with_(observed={"y": LogNormalNoise(lambda t, z, p: z[:, 0].exp(), sd=0.2)})
    logs = data.values[..., :1]
    like = Observations(data.ids, data.start, data.times, logs)
    of_values = Observations(data.ids, data.start, data.times, logs.exp())
    left, right = (FilteredDensity(*pair, ExtendedKalman()) for pair in ((plain, like), (exponential, of_values)))
    u = points(left, 3)
    torch.testing.assert_close(right.log_prob(u), left.log_prob(u) - logs.nansum(), rtol=0, atol=1e-10)


def test_a_drifting_parameter_is_a_state_that_walks():
    """dx = m dt with a mean m that drifts is a linear system of two states."""
    rng = np.random.default_rng(4)
    times, values = np.sort(rng.uniform(0, 5, 15)), rng.normal(size=(15, 1))
    base = KnownSystem(
        lambda t, z, p: (p.m - p.k * z[:, 0],), ["x"], {"m": Normal(1, 2), "k": LogNormal(0, 0.5)},
        {"x": Normal(0, 1)}, {"y": AdditiveNoise("x", sd=0.3)},
    )  # fmt: skip
    system = stochastic(base, {"x": 0.2, "m": 0.7}, ["m"])
    assert list(system.states) == ["x", "m"]
    data = Observations(["a"], torch.zeros(1).double(), torch.tensor(times)[None], torch.tensor(values)[None])
    density = FilteredDensity(system, data, ExtendedKalman())
    u = points(density, 2)
    found = (density.log_prob(u) - density.space.log_prior(u))[0]
    for k, one in zip(density.space.constrain(u)[0, :, 0].tolist(), found.tolist()):
        a = np.array([[-k, 1.0], [0.0, 0.0]])
        wanted, _, _ = kalman(
            a, np.zeros(2), np.diag([0.04, 0.49]), np.array([0.0, 1.0]), np.diag([1.0, 4.0]), times, values,
            np.array([[1.0, 0.0]]), np.array([0.09]),
        )  # fmt: skip
        # the prior of m is read by its quantiles
        assert one == pytest.approx(wanted, abs=5e-3)


def test_correlated_process_noise_is_that_of_its_covariance(data):
    system = oscillator(x=0.4, v=0.8)
    tied = oscillator(x=0.4, v=0.8).with_(process_noise={"x": 0.4, "v": 0.8, ("x", "v"): -0.6})
    density = FilteredDensity(tied, data, ExtendedKalman())
    u = points(density, 1)
    k, s = density.space.constrain(u)[0, 0].tolist()
    a, b = np.array([[0.0, 1.0], [-k, -0.3]]), np.array([0.0, 1.0])
    q = np.array([[0.16, -0.6 * 0.32], [-0.6 * 0.32, 0.64]])
    wanted = sum(
        kalman(a, b, q, np.array([0.0, 0.5]), np.diag([4.0, 0.0]), data.times[row].numpy(), data.values[row].numpy(),
               np.array([[1.0, 0.0], [1.0, 2.0]]), np.array([0.09, s**2]))[0]
        for row in range(3)
    )  # fmt: skip
    found = (density.log_prob(u) - density.space.log_prior(u))[0, 0]
    assert float(found) == pytest.approx(wanted, abs=1e-10)
    assert float(FilteredDensity(system, data, ExtendedKalman()).log_prob(u)) != pytest.approx(float(found), abs=0.1)


def test_a_series_alone_has_the_evidence_that_it_has_beside_others(data):
    density = FilteredDensity(oscillator(), data, ExtendedKalman(), n_problems=3)
    u = points(density).expand(3, -1, -1)
    together = density.log_prob(u)
    for row in range(3):
        torch.testing.assert_close(density.select(torch.tensor([row])).log_prob(u[:1])[0], together[row])


def test_points_have_common_noise_and_with_a_seed_noise_of_their_own(data):
    density = FilteredDensity(oscillator(), data, ParticleFilter(20))
    u = points(density, 1).expand(-1, 3, -1)
    common, own = density.log_prob(u)[0], density.with_seed(5).log_prob(u)[0]
    assert len(common.unique()) == 1
    assert len(own.unique()) == 3


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({}, "process_noise takes a dict"),
        ({"w": 1.0}, "names 'w', which is no state"),
        ({"v": -1.0}, "must be a number not below 0"),
        ({"v": Normal(0, 1)}, "cannot be negative"),
        ({"v": "tau"}, "neither a prior nor a value"),
        ({"v": 1.0, ("x", "v"): 0.5}, "a correlation is of two different states that have noise"),
        ({"x": 1.0, "v": 1.0, ("x", "v"): 1.5}, "must be between -1 and 1"),
        ({"x": 1.0, "v": 1.0, ("x", "v"): HalfNormal(1.0)}, "give it lower=-1, upper=1"),
    ],
)
def test_process_noise_that_cannot_be_is_refused_by_what_is_wrong(noise, message):
    base = KnownSystem(oscillator_rates, ["x", "v"], {"k": 1.0}, {"x": 0.0, "v": 0.0}, {"x": AdditiveNoise("x", 1.0)})
    with pytest.raises(ParameterError, match=message):
        stochastic(base, noise)

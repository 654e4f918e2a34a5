"""Ready systems against SciPy, with their equations written anew, and their priors."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.integrate
import torch

from tests.inference.known_examples import doses, numbers, observations
from tsode import systems
from tsode.errors import ParameterError
from tsode.inference.known_density import KnownDensity
from tsode.inference.noise import LogNormalNoise
from tsode.inference.priors import LogNormal, Prior
from tsode.numerics.dopri5 import Dopri5
from tsode.systems import SYSTEMS

TIMES = np.array([0.3, 1.0, 2.5, 4.0])
DOSED = {
    "michaelis_menten", "one_compartment_iv", "one_compartment_oral", "turnover", "two_compartment_iv",
    "two_compartment_oral",
}  # fmt: skip
ARGUMENTS = {"sir": (1000.0,), "seir": (1000.0,)}


def two_compartments(z, p):
    flow = p["exchange"] * (z[0] / p["volume"] - z[1] / p["tissue_volume"])
    return [-p["clearance"] / p["volume"] * z[0] - flow, flow]


def oral(z, p, body):
    inside = body(z[1:], p)
    taken = p["absorption"] * z[0]
    return [-taken, inside[0] + taken, *inside[1:]]


def one_compartment(z, p):
    return [-p["clearance"] / p["volume"] * z[0]]


def epidemic(z, p, latent=False):
    caught = p["reproduction"] / p["infectious"] * z[0] * z[-2] / 1000.0
    healed = z[-2] / p["infectious"]
    if not latent:
        return [-caught, caught - healed, healed]
    return [-caught, caught - z[1] / p["latent"], z[1] / p["latent"] - healed, healed]


def swings(z, p):
    w = 2 * math.pi / p["period"]
    return [z[1], -2 * p["damping"] * w * z[1] - w**2 * z[0]]


EQUATIONS = {
    "damped_oscillator": swings,
    "first_order_reactions": lambda z, p: [
        -p["rate_1"] * z[0], p["rate_1"] * z[0] - p["rate_2"] * z[1], p["rate_2"] * z[1],
    ],
    "fitzhugh_nagumo": lambda z, p: [
        p["c"] * (z[0] - z[0] ** 3 / 3 + z[1]), -(z[0] - p["a"] + p["b"] * z[1]) / p["c"],
    ],
    "gompertz_growth": lambda z, p: [p["rate"] * z[0] * np.log(p["limit"] / z[0])],
    "logistic_growth": lambda z, p: [p["rate"] * z[0] * (1 - z[0] / p["limit"])],
    "lotka_volterra": lambda z, p: [
        p["alpha"] * z[0] - p["beta"] * z[0] * z[1], p["delta"] * z[0] * z[1] - p["gamma"] * z[1],
    ],
    "michaelis_menten": lambda z, p: [-p["most"] * (z[0] / p["volume"]) / (p["half"] + z[0] / p["volume"])],
    "one_compartment_iv": one_compartment,
    "one_compartment_oral": lambda z, p: oral(z, p, one_compartment),
    "seir": lambda z, p: epidemic(z, p, latent=True),
    "sir": epidemic,
    "turnover": lambda z, p: [p["loss"] * (p["level"] - z[0])],
    "two_compartment_iv": two_compartments,
    "two_compartment_oral": lambda z, p: oral(z, p, two_compartments),
}  # fmt: skip
ALL = pytest.mark.parametrize("name", SYSTEMS)


def density(name, solver=None, **arguments):
    """The system with a dose into its first state, and its channels not seen yet."""
    system = SYSTEMS[name](*ARGUMENTS.get(name, ()), **arguments)
    system = system if solver is None else replace(system, solver=solver)
    events = doses([0.0], [5.0]) if name in DOSED else None
    values = np.full((1, len(TIMES), len(system.observed)), np.nan)
    return KnownDensity(system, observations(TIMES, values, events=events))


@ALL
def test_trajectories_are_those_of_scipy(name):
    where = density(name, Dopri5(rtol=1e-9, atol=1e-11))
    u = where.sample_prior(3, torch.Generator().manual_seed(1)) * 0.5
    states, status = where.trajectories(u, numbers([TIMES]))
    assert not status.any()
    starts, _ = where.trajectories(u, numbers([[0.0]]), side="after")
    for k in range(3):
        p = dict(zip(where.names, where.space.constrain(u)[0, k].tolist()))
        truth = scipy.integrate.solve_ivp(
            lambda t, z: EQUATIONS[name](z, p), (0, 4), starts[0, k, 0, 0].tolist(), "LSODA", TIMES, rtol=1e-10,  # noqa: B023
            atol=1e-12,
        ).y  # fmt: skip
        torch.testing.assert_close(states[0, k, 0], numbers(truth.T), rtol=1e-6, atol=1e-7)


@ALL
def test_starts_are_those_of_the_priors_and_the_dose(name):
    where = density(name)
    u = where.sample_prior(2, torch.Generator().manual_seed(1))
    p = dict(zip(where.names, where.space.constrain(u)[0, 0].tolist()))
    before = where.trajectories(u, numbers([[0.0]]))[0][0, 0, 0, 0].tolist()
    after = where.trajectories(u, numbers([[0.0]]), side="after")[0][0, 0, 0, 0].tolist()
    dose = 5.0 if name in DOSED else 0.0
    assert after == pytest.approx([before[0] + dose, *before[1:]])
    if name in ("sir", "seir"):
        assert before[0] == pytest.approx(1000.0 - p["first"])
        assert sum(before) == pytest.approx(1000.0)


@pytest.mark.slow
@ALL
def test_draws_from_the_prior_can_be_solved_and_observed_with_finite_gradients(name):
    where = density(name)
    u = where.sample_prior(20, torch.Generator().manual_seed(0))
    laws = where.predictive(u, numbers([TIMES]))
    values = torch.stack([law.family.quantile(law.params[0, :, 0], torch.tensor(0.5)).median(dim=0).values
                          for law in laws.values()], dim=-1)  # fmt: skip
    seen = KnownDensity(where.system, replace(where.data, values=values[None]))
    u.requires_grad_()
    log_prob = seen.log_prob(u)
    assert log_prob.isfinite().float().mean() > 0.9, seen.failures(u)
    (gradient,) = torch.autograd.grad(log_prob[log_prob.isfinite()].sum(), u)
    assert gradient.isfinite().all()
    moved = (gradient != 0).any(dim=1)[0]
    assert moved.all(), [name for name, is_moved in zip(seen.names, moved) if not is_moved]


@ALL
def test_every_parameter_is_read(name):
    assert density(name).unused == ()


@ALL
def test_the_median_of_each_prior_is_the_typical_value_and_the_spread_its_width(name):
    narrow, wide = (
        {key: prior for key, prior in SYSTEMS[name](*ARGUMENTS.get(name, ()), spread=spread).parameters.items()
         if isinstance(prior, LogNormal)} for spread in (0.1, 1.0)
    )  # fmt: skip
    for key, prior in narrow.items():
        assert prior.mean_log == wide[key].mean_log
        is_of_noise = prior.sd_log == wide[key].sd_log
        assert is_of_noise or wide[key].sd_log == pytest.approx(10 * prior.sd_log)


def test_a_lag_is_a_parameter_where_one_is_asked_for():
    where = density("one_compartment_oral", lag=0.5)
    assert "lag" in where.names
    u = torch.zeros(1, 1, len(where.names), dtype=torch.float64)
    depot = where.trajectories(u, numbers([[0.4, 0.6]]))[0][0, 0, 0, :, 0].tolist()
    assert depot[0] == 0.0
    assert depot[1] == pytest.approx(5.0 * math.exp(-0.1), rel=1e-6)


def test_a_prior_may_stand_where_a_typical_value_does():
    own = LogNormal(0.3, 0.2)
    system = systems.one_compartment_iv(clearance=own)
    assert system.parameters["clearance"] is own
    assert systems.sir(1000.0, reported=own).parameters["reported"] is own


def test_a_system_is_changed_by_small_steps():
    system = systems.lotka_volterra().with_(
        parameters={"sd_predator": None, "alpha": 1.0}, observed={"hares": LogNormalNoise("prey", sd="sd_prey")}
    )
    assert list(system.observed) == ["hares"]
    assert "sd_predator" not in system.parameters
    assert system.parameters["alpha"] == 1.0
    assert isinstance(system.parameters["beta"], Prior)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: systems.turnover(level=-1.0), "level is a typical value above 0"),
        (lambda: systems.sir(0.0), "population is the number of people"),
        (lambda: systems.lotka_volterra(period=0.0), "period must be above 0"),
        (lambda: systems.damped_oscillator(amplitude=-1.0), "amplitude must be above 0"),
        (lambda: systems.first_order_reactions("ab"), "species must name at least two"),
    ],
)
def test_a_typical_value_that_cannot_be_says_why(make, says):
    with pytest.raises(ParameterError, match=says):
        make()

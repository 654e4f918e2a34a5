"""Known systems: what functions may be and see, triggers with parameters, and messages."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.inference.known_examples import doses, numbers, observations
from tsode.errors import DataError, ParameterError, ShapeError, UnknownParameterError
from tsode.inference.dosing import Dosing
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise import AdditiveNoise, LogNormalNoise, PoissonNoise
from tsode.inference.priors import LogNormal, Normal
from tsode.numerics.dopri5 import Dopri5
from tsode.numerics.surfaces import Trigger

DECAY = {
    "rates": lambda t, z, p: (-p.k * z[:, 0], p.k * z[:, 0]),
    "states": ["drug", "gone"],
    "parameters": {"k": LogNormal(-1.0, 0.5), "sd": LogNormal(-1.0, 0.5)},
    "initial": {"drug": 10.0, "gone": 0.0},
    "observed": {"level": AdditiveNoise("drug", sd="sd")},
}
TIMES, LEVELS = [1.0, 2.0], [[6.0], [4.0]]


def density(values=LEVELS, ids=("a",), events=None, start=0.0, **changes):
    data = observations(TIMES, values, ids, start, events=events)
    return KnownDensity(KnownSystem(**{**DECAY, **changes}), data)


def middle(where):
    return torch.zeros(where.n_problems, 1, len(where.names), dtype=torch.float64)


# -- functions ---------------------------------------------------------------------------------------------------------


def test_rates_may_be_a_tensor_or_one_for_each_state():
    one = density()
    other = density(rates=lambda t, z, p: torch.stack([-p.k * z[:, 0], p.k * z[:, 0]], -1))
    assert torch.equal(one.log_prob(middle(one)), other.log_prob(middle(other)))


def test_a_channel_may_be_any_function_of_time_state_and_parameters():
    of = AdditiveNoise(lambda t, z, p: z[:, 0] / p.volume + 0.1 * t, sd=0.5)
    where = density(parameters={"k": LogNormal(-1.0, 0.5), "volume": LogNormal(1.0, 0.2)}, observed={"level": of})
    k, volume = math.exp(-1.0), math.exp(1.0)
    means = [10 * math.exp(-k * t) / volume + 0.1 * t for t in TIMES]
    expected = sum(
        -0.5 * ((y - m) / 0.5) ** 2 - math.log(0.5 * math.sqrt(2 * math.pi)) for y, m in zip((6.0, 4.0), means)
    )
    u = middle(where)
    assert float(where.log_prob(u) - where.space.log_prior(u)) == pytest.approx(expected, abs=1e-6)


def test_an_initial_state_may_follow_from_parameters():
    # production over loss: a steady state, at which nothing moves
    where = density(
        rates=lambda t, z, p: (p.made - p.k * z[:, 0], 0 * t),
        parameters={**DECAY["parameters"], "made": LogNormal(0.0, 0.5)},
        initial={"drug": lambda p: p.made / p.k, "gone": 0.0},
    )
    u = where.sample_prior(5, torch.Generator().manual_seed(0))
    states, _ = where.trajectories(u, numbers([[0.0, 1.0, 7.0]]))
    x = where.space.constrain(u)[0]
    level = x[:, where.names.index("made")] / x[:, where.names.index("k")]
    torch.testing.assert_close(states[0, :, 0, :, 0], level[:, None].expand(-1, 3), rtol=1e-9, atol=0.0)


def test_a_known_start_may_be_one_for_each_series():
    values = np.array([LEVELS, LEVELS])
    where = density(values, "ab", initial={"drug": [5.0, 20.0], "gone": 0.0})
    states, _ = where.trajectories(middle(where), numbers([[0.0], [0.0]]))
    assert states[0, 0, :, 0, 0].tolist() == [5.0, 20.0]


def test_series_may_start_at_times_of_their_own():
    where, later = density(), density(start=-1.0)
    u = middle(where)
    start = later.trajectories(u, numbers([[0.0]]))[0][0, 0, 0, 0]
    moved = density(initial={"drug": float(start[0]), "gone": 0.0})
    torch.testing.assert_close(moved.log_prob(u), later.log_prob(u), rtol=1e-9, atol=1e-9)


def test_a_parameter_that_nothing_reads_is_known():
    where = density(parameters={**DECAY["parameters"], "idle": LogNormal(0.0, 1.0)})
    assert where.unused == ("idle",)
    assert density().unused == ()


def test_a_value_after_the_last_dose_of_a_state_in_other_units_is_the_same():
    events = doses([0.0, 0.5], [5.0, 5.0])
    where = density(events=events, doses={"drug": Dosing(bioavailability=0.5)}, initial={"drug": 0.0, "gone": 0.0})
    states, _ = where.trajectories(middle(where), numbers([TIMES]))
    k = math.exp(-1.0)
    expected = [2.5 * (math.exp(-k * t) + math.exp(-k * (t - 0.5))) for t in TIMES]
    assert states[0, 0, 0, :, 0].tolist() == pytest.approx(expected, rel=1e-6)


# -- triggers ----------------------------------------------------------------------------------------------------------


def test_a_trigger_reads_parameters_and_hands_on_their_gradients():
    # a ball from height 1 bounces with restitution e at sqrt(2 / g); until it is up again it flies for 2 e sqrt(2 / g)
    bounce = Trigger(
        lambda t, z, p: z[:, 0],
        direction=-1,
        reset=lambda t, z, p: torch.stack([0 * z[:, 0], -p.restitution * z[:, 1]], -1),
    )
    system = KnownSystem(
        lambda t, z, p: (z[:, 1], -p.gravity + 0 * t),
        ["height", "speed"],
        {"gravity": LogNormal(math.log(9.81), 0.1), "restitution": LogNormal(math.log(0.8), 0.05)},
        {"height": 1.0, "speed": 0.0},
        {"height": AdditiveNoise("height", sd=0.1)},
        triggers=[bounce],
        solver=Dopri5(rtol=1e-9, atol=1e-11),
    )
    where = KnownDensity(system, observations([0.3, 0.7], [[0.5], [0.4]]))
    u = (0.5 * where.sample_prior(3, torch.Generator().manual_seed(0))).requires_grad_()
    states, status = where.trajectories(u, numbers([[0.3, 0.7]]))
    assert not status.any()
    gravity, restitution = where.space.constrain(u)[0].unbind(-1)
    hit = (2 / gravity).sqrt()
    up = restitution * gravity * hit * (0.7 - hit) - 0.5 * gravity * (0.7 - hit) ** 2
    exact = torch.stack([1 - 0.5 * gravity * 0.09, up], dim=-1)
    torch.testing.assert_close(states[0, :, 0, :, 0], exact, rtol=1e-7, atol=1e-7)
    ours, theirs = (torch.autograd.grad(x.sum(), u, retain_graph=True)[0] for x in (states[..., 0], exact))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


# -- messages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"observed": {"level": AdditiveNoise("drug", sd="sdd")}}, ParameterError,
         r"sd of the noise of channel 'level' is 'sdd', which has neither a prior nor a value. Did you mean 'sd'"),
        ({"observed": {"level": AdditiveNoise("drg", sd="sd")}}, ParameterError,
         r"channel 'level' names 'drg', which is no state. Did you mean 'drug'"),
        ({"observed": {}}, ParameterError, "observed= is empty"),
        ({"observed": {"level": "normal"}}, ParameterError, r"observed\['level'\] must be a noise"),
        ({"initial": {"drug": 1.0}}, ParameterError, "initial= has nothing for state 'gone'"),
        ({"initial": {"drug": 1.0, "gone": 0.0, "gon": 0.0}}, ParameterError, "names 'gon', which is no state"),
        ({"states": ["drug", "drug"]}, ParameterError, "different names"),
        ({"parameters": {**DECAY["parameters"], "sd": Normal(1.0, 1.0)}}, ParameterError,
         r"'sd', which cannot be negative, but its prior is Normal\(1, 1\): give it lower=0"),
        ({"parameters": {"k": LogNormal(0, 1), "sd": -1.0}}, ParameterError, "cannot be negative, but is -1"),
        ({"doses": {"drug": Dosing(lag="late")}}, ParameterError, r"lag of doses\['drug'\] is 'late'"),
        ({"doses": {"depot": Dosing()}}, ParameterError, "doses= names 'depot', which is no state"),
        ({"initial": {"drug": LogNormal(0, 1), "gone": 0.0},
          "parameters": {**DECAY["parameters"], "drug_initial": 1.0}}, ParameterError, "already"),
        ({"parameters": {"kk": LogNormal(0, 1), "sd": 1.0}}, UnknownParameterError,
         "There is no parameter 'k'. Did you mean 'kk'"),
        ({"rates": lambda t, z, p: -p.k * z[:, 0]}, ShapeError, r"rates must return a tensor of shape \(3, 2\)"),
        ({"rates": lambda t, z, p: (-p.k[:, None] * z).float()}, ShapeError, "must return float64"),
        ({"rates": lambda t, z, p: None}, ShapeError, "returned a NoneType"),
        ({"observed": {"level": AdditiveNoise(lambda t, z, p: z, sd="sd")}}, ShapeError,
         r"The function of observed\['level'\] must return"),
        ({"rates": 3}, ParameterError, "rates must be a function"),
        ({"per_series": ["kk"]}, ParameterError, "per_series names 'kk'"),
    ],
)  # fmt: skip
def test_a_system_that_cannot_be_says_what_to_write(changes, error, says):
    with pytest.raises(error, match=says):
        density(**changes)


@pytest.mark.parametrize(
    ("noise", "value", "says"),
    [
        (LogNormalNoise("drug", sd="sd"), -1.0, "'level' of series 'a' is -1 at time 2, but LogNormalNoise is of"),
        (LogNormalNoise("drug", sd="sd"), 0.0, "numbers above 0"),
        (PoissonNoise("drug"), 1.5, "counts 0, 1, 2"),
        (AdditiveNoise("drug", sd="sd"), math.inf, "finite numbers"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_come_is_named_with_its_series_and_time(noise, value, says):
    with pytest.raises(DataError, match=says):
        density([[6.0], [value]], observed={"level": noise})


def test_a_value_below_the_limit_of_quantification_need_not_be_in_the_support():
    where = density([[6.0], [0.0]], observed={"level": LogNormalNoise("drug", sd="sd", below=0.1)})
    assert where.log_prob(middle(where)).isfinite().all()


def test_a_value_before_the_start_is_named():
    with pytest.raises(DataError, match=r"Series 'a' has a value at 1, before it starts at 1\.5"):
        density(start=1.5)

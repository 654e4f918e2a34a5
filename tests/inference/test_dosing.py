"""Doses whose lag, bioavailability, rate and duration are parameters: values and gradients by closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.inference.known_examples import doses, numbers, observations
from tsode.core.scheduled_events import EventKind
from tsode.errors import ParameterError
from tsode.inference.dosing import Dosing, place_doses, split_resets
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise import AdditiveNoise
from tsode.inference.priors import LogNormal, Uniform
from tsode.numerics.dopri5 import Dopri5

TIMES = [0.5, 1.0, 1.5, 2.0, 3.0, 6.0]
PRIORS = {
    "k": LogNormal(math.log(0.7), 0.3), "lag": Uniform(0.0, 1.0), "share": Uniform(0.0, 1.0),
    "rate": LogNormal(1.0, 0.3), "length": LogNormal(-1.0, 0.3),
}  # fmt: skip


def one_compartment(events, dosing, bends=False):
    """Elimination in proportion, solved exactly or, where it `bends`, in steps."""

    def rates(t, z, p):
        return -p.k[:, None] * z + (0.0 * z**2 if bends else 0.0)

    used = {name: prior for name, prior in PRIORS.items() if name == "k" or name in dosing.settings().values()}
    system = KnownSystem(
        rates, ["drug"], used, {"drug": 1.0}, {"level": AdditiveNoise("drug", sd=1.0)}, doses={"drug": dosing},
        solver=Dopri5(rtol=1e-10, atol=1e-12),
    )  # fmt: skip
    return KnownDensity(system, observations(TIMES, np.zeros((6, 1)), events=events))


def levels(density, u):
    states, status = density.trajectories(u, density.data.times)
    assert not status.any()
    return states[0, :, 0, :, 0]


def agree(density, exact):
    """States and, apart from them, their gradients by all coordinates."""
    u = (0.5 * density.sample_prior(4, torch.Generator().manual_seed(0))).requires_grad_()
    x = density.space.constrain(u)[0]
    p = {name: x[:, k, None] for k, name in enumerate(density.names)}
    ours, theirs = levels(density, u), exact(numbers(TIMES), **p)
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-8)
    weights = torch.linspace(0.5, 1.5, ours.numel(), dtype=torch.float64).reshape(ours.shape)
    by_ours, by_theirs = (torch.autograd.grad((weights * y).sum(), u, retain_graph=True)[0] for y in (ours, theirs))
    assert by_theirs.abs().min() > 0
    torch.testing.assert_close(by_ours, by_theirs, rtol=1e-5, atol=1e-6)


def after(t, since, amount, k):
    # double `where`: no gradient of an exponential that is not there
    is_there = t > since
    return torch.where(is_there, amount * torch.exp(-k * torch.where(is_there, t - since, 0.0)), 0.0)


def infused(t, since, amount, length, k):
    end = torch.minimum(torch.maximum(t, since), since + length)
    gained = amount / length / k * (1 - torch.exp(-k * (end - since)))
    return gained * torch.exp(-k * (torch.maximum(t, since + length) - since - length))


BENDS = pytest.mark.parametrize("bends", [False, True])


@BENDS
def test_a_lag_and_a_bioavailability_are_those_of_the_closed_form(bends):
    density = one_compartment(doses([0.0, 1.0], [5.0, 3.0]), Dosing(lag="lag", bioavailability="share"), bends)

    def exact(t, k, lag, share):
        late = after(t, 0.0 + lag, 5.0 * share, k) + after(t, 1.0 + lag, 3.0 * share, k)
        return torch.exp(-k * t) + late

    agree(density, exact)


@BENDS
@pytest.mark.parametrize("by", ["rate", "duration"])
def test_an_infusion_by_rate_or_duration_is_that_of_the_closed_form(bends, by):
    name = {"rate": "rate", "duration": "length"}[by]
    density = one_compartment(doses([0.0], [5.0]), Dosing(lag="lag", bioavailability="share", **{by: name}), bends)

    def exact(t, k, lag, share, rate=None, length=None):
        length = 5.0 * share / rate if length is None else length
        return torch.exp(-k * t) + infused(t, lag, 5.0 * share, length, k)

    agree(density, exact)


def test_a_dose_with_a_duration_of_its_own_keeps_it():
    density = one_compartment(doses([0.0], [5.0], duration=2.0), Dosing(bioavailability="share", duration="length"))
    u = 0.5 * density.sample_prior(4, torch.Generator().manual_seed(0))
    x = density.space.constrain(u)[0]
    k, share = (x[:, density.names.index(name), None] for name in ("k", "share"))
    exact = torch.exp(-k * numbers(TIMES)) + infused(numbers(TIMES), 0 * k, 5.0 * share, 2.0 + 0 * k, k)
    torch.testing.assert_close(levels(density, u), exact, rtol=1e-8, atol=1e-9)


@BENDS
def test_a_reset_does_not_wait_for_the_dose_that_comes_late(bends):
    events = doses([0.25], [5.0], EventKind.RESET_ADD)
    density = one_compartment(events, Dosing(lag="lag"), bends)
    u = 0.5 * density.sample_prior(4, torch.Generator().manual_seed(0))
    x = density.space.constrain(u)[0]
    k, lag = (x[:, density.names.index(name), None] for name in ("k", "lag"))
    expected = after(numbers(TIMES), 0.25 + lag, 5.0, k)
    torch.testing.assert_close(levels(density, u), expected, rtol=1e-8, atol=1e-9)


@pytest.mark.slow
@BENDS
def test_lags_that_bring_doses_to_the_time_of_a_value_have_the_derivative_of_before(bends):
    # at the middle of the prior the dose of time 1 arrives at 1.5, where a value is, and with the dose of time 1.5
    events = doses([1.0, 1.5], [5.0, 3.0])
    density = one_compartment(events, Dosing(lag="lag"), bends)
    u = torch.zeros(1, 1, 2, dtype=torch.float64, requires_grad=True)
    ours = levels(density, u)[0]
    x = density.space.constrain(u)[0, 0]
    k, lag = (x[density.names.index(name)] for name in ("k", "lag"))
    assert float(lag.detach()) == 0.5
    t = numbers(TIMES)
    exact = torch.exp(-k * t) + after(t, 1.0 + lag, 5.0, k) + after(t, 1.5 + lag, 3.0, k)
    torch.testing.assert_close(ours, exact, rtol=1e-8, atol=1e-9)
    for y, z in zip(ours, exact):
        by_ours, by_exact = (torch.autograd.grad(v, u, retain_graph=True)[0] for v in (y, z))
        torch.testing.assert_close(by_ours, by_exact, rtol=1e-6, atol=1e-7)


@BENDS
@pytest.mark.parametrize("every", [pytest.param(4.0, marks=pytest.mark.slow), 0.4])
def test_a_steady_state_with_a_lag_is_where_many_late_doses_lead(bends, every):
    # with an interval of 0.4 up to two doses are on their way at once
    steady = replace(doses([0.25], [5.0]), every=numbers([[every]]), steady_state=torch.ones(1, 1, dtype=torch.int64))
    density = one_compartment(steady, Dosing(lag="lag"), bends)
    n = int(60 / every)

    def exact(t, k, lag):
        total = torch.exp(-k * t) * (t <= 0.25)
        given = 0.25 - every * torch.arange(n, dtype=torch.float64)
        late = sum(after(t, when + lag, 5.0, k) for when in given.tolist())
        return total + torch.where(t > 0.25, late, 0.0)

    agree(density, exact)


def test_events_without_parameters_stay_as_they_are():
    events = doses([0.0, 1.0], [5.0, 3.0])
    assert split_resets(events, {0: Dosing()}) is events
    placed = place_doses(events, {0: Dosing()}, lambda given: numbers([[given]]))
    assert all(torch.equal(value, getattr(events, name)) for name, value in vars(placed).items())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Dosing(rate=1.0, duration=2.0), "a rate or a duration"),
        (lambda: Dosing(lag=-1.0), "lag of Dosing is the name of a parameter or a number not negative"),
        (lambda: Dosing(duration=0.0), "duration of Dosing is the name of a parameter or a number above 0"),
    ],
)
def test_a_dosing_that_cannot_be_says_why(make, says):
    with pytest.raises(ParameterError, match=says):
        make()

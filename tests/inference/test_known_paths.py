"""Inputs along time against closed forms: values, gradients, and knots at which solvers stop."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch

from tests.inference.known_examples import TIGHT, doses, draws, numbers, observations
from tsode.errors import DataError, ParameterError
from tsode.inference.dosing import Dosing
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_paths import KnownPaths
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise import AdditiveNoise
from tsode.inference.priors import LogNormal, Normal
from tsode.numerics.dopri5 import Dopri5
from tsode.numerics.surfaces import Trigger

KNOTS, LEVELS = [0.0, 1.0, 2.5, 4.0], [1.0, 3.0, -2.0, 0.5]


def paths(knots=KNOTS, levels=LEVELS, is_line=False, until=np.inf) -> KnownPaths:
    slopes = np.append(np.diff(levels) / np.diff(knots), 0.0) if is_line else np.zeros(len(knots))
    return KnownPaths(
        ("u",), numbers([knots]), numbers([levels])[..., None], numbers([slopes])[..., None], numbers([until])
    )


def rates(t, z, p):
    return (-p.k * z[:, 0] + p.u,)


NEAR = Dopri5(rtol=1e-9, atol=1e-11)  # for differences


def density(known=None, solver=TIGHT, function=rates, parameters=None, **others) -> KnownDensity:
    system = KnownSystem(
        function, ["z"], parameters or {"k": LogNormal(log(0.7), 0.3)}, {"z": others.pop("initial", 2.0)},
        {"x": AdditiveNoise("z", sd=0.1)}, solver=solver, **others.pop("parts", {}),
    )  # fmt: skip
    times = np.array([0.5, 1.0, 2.0, 3.0, 6.0])
    return KnownDensity(
        system, observations(times, np.ones((5, 1)), known=paths() if known is None else known, **others)
    )


def closed_form(t, k, is_line, start=2.0):
    """z(t) of z' = -k z + u(t), piece by piece."""
    z = start
    for place, (begin, level) in enumerate(zip(KNOTS, LEVELS)):
        end = KNOTS[place + 1] if place + 1 < len(KNOTS) else np.inf
        slope = (LEVELS[place + 1] - level) / (end - begin) if is_line and end < np.inf else 0.0
        h = min(t, end) - begin
        # particular solution a + b h, with b = s / k and a = (u - b) / k
        b = slope / k
        a = (level - b) / k
        z = a + b * h + (z - a) * np.exp(-k * h)
        if t <= end:
            return z
    return z


@pytest.mark.parametrize("is_line", [False, True])
def test_states_under_an_input_are_the_closed_form_at_and_between_knots(is_line):
    own = density(paths(is_line=is_line))
    k = own.space.constrain(u := draws(own, 4))[0, :, 0].numpy()
    times = [0.3, 1.0, 1.7, 2.5, 3.9, 4.0, 7.0]
    states, status = own.trajectories(u, numbers([times]))
    truth = [[closed_form(t, rate, is_line) for t in times] for rate in k]
    assert not status.any()
    np.testing.assert_allclose(states[0, :, 0, :, 0].numpy(), truth, rtol=1e-9)


def test_a_loose_solver_is_exact_in_what_it_integrates_exactly_because_it_stops_at_jumps():
    # z' = u alone: a polynomial of degree one on each piece, whatever the tolerance
    own = density(function=lambda t, z, p: (p.u + 0.0 * p.k,), solver=Dopri5(rtol=1e-2, atol=1e-2))
    states, _ = own.trajectories(draws(own, 1), numbers([[1.0, 2.5, 4.0, 6.0]]))
    truth = 2.0 + np.array([1.0, 1.0 + 4.5, 5.5 - 3.0, 2.5 + 1.0])
    np.testing.assert_allclose(states.flatten().numpy(), truth, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("is_line", [False, True])
def test_the_gradient_under_an_input_is_that_of_differences(is_line):
    own = density(
        paths(is_line=is_line), parameters={"k": LogNormal(log(0.7), 0.3)}, initial=Normal(2.0, 1.0), solver=NEAR
    )
    u = draws(own, 2).requires_grad_()
    assert torch.autograd.gradcheck(
        own.log_prob, u, eps=1e-5, atol=1e-4, rtol=1e-6, check_undefined_grad=False, fast_mode=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("is_line", [False, True])
def test_a_knot_that_changes_nothing_changes_no_likelihood(is_line):
    few = density(paths(is_line=is_line))
    level = 3.0 - 5.0 / 1.5 * 0.7 if is_line else 3.0
    more = density(paths([0.0, 1.0, 1.7, 2.5, 4.0], [1.0, 3.0, level, -2.0, 0.5], is_line))
    u = draws(few, 8)
    np.testing.assert_allclose(few.log_prob(u).numpy(), more.log_prob(u).numpy(), rtol=1e-12)


def test_an_input_is_read_by_the_start_what_is_observed_and_triggers():
    system = KnownSystem(
        rates, ["z"], {"k": Normal(1.0, 1e-6)}, {"z": lambda p: 5.0 * p.u},
        {"x": AdditiveNoise(lambda t, z, p: z[:, 0] + 10.0 * p.u, sd=0.1)}, solver=TIGHT,
        triggers=[Trigger(lambda t, z, p: z[:, 0] - 1.5 * p.u, -1, lambda t, z, p: z + 100.0 * p.u[:, None])],
    )  # fmt: skip
    own = KnownDensity(system, observations([0.5, 3.0], np.ones((2, 1)), known=paths([0.0, 2.0], [1.0, -2.0])))
    u = own.sample_prior(1, torch.Generator().manual_seed(0))
    law = own.predictive(u, numbers([[0.5, 2.0, 2.0 + 1e-9]]))["x"]
    # from 5, falling to 1 as 1 + 4 exp(-t): 1.5 is met at log 8 = 2.08, so not before 2
    before = 1.0 + 4.0 * np.exp(-0.5)
    at = 1.0 + 4.0 * np.exp(-2.0)
    np.testing.assert_allclose(law.params[0, 0, 0, :, 0], [before + 10.0, at - 20.0, at - 20.0], atol=1e-4)


def test_gradients_by_a_lag_go_on_where_an_input_jumps_as_the_dose_arrives():
    # a dose of 4 at 0 with a lag of about 1, when u jumps from 1 to 3
    parts = {"doses": {"z": Dosing(lag="lag")}}
    events = doses([0.0], [4.0])
    priors = {"k": LogNormal(log(0.7), 0.3), "lag": LogNormal(0.0, 0.3)}
    own = density(parameters=priors, parts=parts, events=events, solver=NEAR)
    u = own.space.pack({"k": 0.7, "lag": 1.3}).requires_grad_()
    (slope,) = torch.autograd.grad(own.log_prob(u).sum(), u)
    for k, move in enumerate(1e-5 * torch.eye(2, dtype=torch.float64)):
        with torch.no_grad():
            rise = own.log_prob(u + move) - own.log_prob(u - move)
        assert slope[0, 0, k].item() == pytest.approx(rise.item() / 2e-5, rel=1e-5, abs=1e-4)
    # z(3) is that of no dose and the dose after its lag, just at the jump too
    u = own.space.pack({"k": 0.7, "lag": 1.0}).requires_grad_()
    states, _ = own.trajectories(u, numbers([[3.0]]))
    assert states.item() == pytest.approx(closed_form(3.0, 0.7, False) + 4.0 * np.exp(-0.7 * 2.0), rel=1e-8)
    (slope,) = torch.autograd.grad(states.sum(), u)
    lag_of_u = torch.autograd.functional.jacobian(lambda v: own.space.constrain(v)[0, 0, 1], u.detach())[0, 0, 1]
    assert slope[0, 0, 1] / lag_of_u == pytest.approx(4.0 * 0.7 * np.exp(-0.7 * 2.0), rel=1e-6)


def test_the_gradient_by_a_lag_takes_few_more_steps_where_an_input_jumps():
    # what shadows a solve must not see the jump early because the lag, which is moved, sets where the solve stops
    asked = []

    def counted(t, z, p):
        asked.append(len(z))
        return rates(t, z, p)

    priors = {"k": LogNormal(log(0.7), 0.3), "lag": LogNormal(0.0, 0.3)}
    own = density(
        function=counted, parameters=priors, parts={"doses": {"z": Dosing(lag="lag")}}, events=doses([0.0], [4.0]),
        solver=Dopri5(),
    )  # fmt: skip
    u = own.space.pack({"k": 0.7, "lag": 1.3})
    asked.clear()
    own.log_prob(u)
    without = len(asked)
    own.log_prob(u.requires_grad_())
    # twice as many for the shadow, and a few to see whether it may be trusted
    assert len(asked) - without < 4 * without


def test_series_have_inputs_of_their_own():
    def both(ids, known):
        system = KnownSystem(rates, ["z"], {"k": LogNormal(log(0.7), 0.3)}, {"z": 2.0},
                             {"x": AdditiveNoise("z", sd=0.1)}, per_series=["k"])  # fmt: skip
        values = np.ones((len(ids), 3, 1))
        return KnownDensity(system, observations([0.5, 2.0, 3.0], values, ids=ids, known=known))

    two = KnownPaths(
        ("u",), numbers([[0.0, 1.0, 2.5], [0.0, 2.0, np.inf]]), numbers([[1.0, 3.0, -2.0], [5.0, 0.0, 0.0]])[..., None],
        torch.zeros(2, 3, 1).double(), numbers([np.inf, np.inf]),
    )  # fmt: skip
    whole = both(["a", "b"], two)
    u = draws(whole, 3)
    for row, name in enumerate("ab"):
        alone = both([name], two.select(torch.tensor([row])))
        torch.testing.assert_close(whole.log_prob(u)[row], alone.log_prob(u[row : row + 1])[0], rtol=1e-9, atol=0.0)
        torch.testing.assert_close(
            whole.select(torch.tensor([row])).log_prob(u[row : row + 1])[0], whole.log_prob(u)[row], rtol=1e-9, atol=0.0
        )


def test_an_input_is_not_known_before_its_first_knot_or_after_its_end():
    with pytest.raises(DataError, match="u of series 'a' are known from 1 on, but it starts at 0"):
        density(paths([1.0, 2.0], [0.0, 1.0]))
    with pytest.raises(DataError, match="u of series 'a' are known up to 4, but asked for at 6"):
        density(paths(until=4.0))


def test_an_input_needs_a_name_of_its_own():
    with pytest.raises(ParameterError, match="'u' is a parameter, and an input along time too"):
        density(parameters={"k": LogNormal(0.0, 0.3), "u": 1.0})

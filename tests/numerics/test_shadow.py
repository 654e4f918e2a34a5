"""Gradients where a state is at rest, which allows any step while its gradient does not."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.linalg import expm
from torch.autograd.function import once_differentiable

from tsode import solve, solve_schedule
from tsode.core.status import Status
from tsode.frames.schedule import read_schedule
from tsode.numerics import Dopri5
from tsode.numerics.crossings import integrate_triggers
from tsode.numerics.integrate import integrate, integrate_to
from tsode.numerics.surfaces import Trigger

EXACT = Dopri5(rtol=1e-8, atol=1e-8, max_steps=10_000)
MATRICES = {
    "a decay": [[-1.0]],
    "a growth": [[0.3]],
    "an oscillator": [[0.0, 1.0], [-1.0, 0.0]],
    "a stiff pair": [[-1.0, 0.3], [0.5, -60.0]],
    "two that differ by nothing but their difference": [[-4.0, 4.0], [4.0, -4.0]],
    "a spiral and a decay": [[-0.1, 3.0, 0.0], [-3.0, -0.1, 0.0], [1.0, 0.0, -20.0]],
}


def at(*times):
    return torch.tensor(times, dtype=torch.float64)


def jacobian(field, z0, end, solver, gradient="backprop"):
    z = torch.tensor([z0], dtype=torch.float64, requires_grad=True)
    after = integrate(field, z, at(0.0), at(end), solver, gradient).z[0]
    return torch.stack([torch.autograd.grad(one, z, retain_graph=True)[0][0] for one in after]).numpy()


@pytest.mark.parametrize("gradient", ["backprop", "checkpoint"])
@pytest.mark.parametrize("name", MATRICES)
def test_the_gradient_at_an_equilibrium_is_the_exponential_of_its_jacobian(name, gradient):
    matrix = np.array(MATRICES[name])
    system = torch.tensor(matrix)
    found = jacobian(lambda t, z: z @ system.T, [0.0] * len(matrix), 6.0, EXACT, gradient)
    truth = expm(6.0 * matrix)
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-5 * max(1.0, np.abs(truth).max()))


def test_the_gradient_of_a_pendulum_at_rest_is_that_of_its_linearisation():
    def field(t, z):
        return torch.stack([z[:, 1], -torch.sin(z[:, 0])], dim=1)

    found = jacobian(field, [0.0, 0.0], 12.0, EXACT)
    np.testing.assert_allclose(found, expm(12.0 * np.array([[0.0, 1.0], [-1.0, 0.0]])), atol=1e-5)


def test_a_part_at_rest_has_its_gradient_beside_one_that_moves_slowly():
    def field(t, z):
        return torch.stack([-5.0 * z[:, 0], 0.1 * (1.0 - z[:, 1])], dim=1)

    np.testing.assert_allclose(jacobian(field, [0.0, 0.0], 20.0, EXACT), [[0.0, 0.0], [0.0, np.exp(-2.0)]], atol=1e-5)


def test_a_level_at_rest_follows_its_parameter():
    for end in (30.0, 300.0):
        level = torch.ones(1, dtype=torch.float64, requires_grad=True)
        ones = torch.ones(1, 1, dtype=torch.float64)
        after = integrate(lambda t, z, level=level: level - z, ones, at(0.0), at(end), EXACT).z
        assert torch.autograd.grad(after.sum(), level)[0].item() == pytest.approx(1.0, abs=1e-5)


def test_queries_far_from_the_start_have_their_gradients_too():
    z = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    times = at(1.0, 10.0, 100.0)
    after = integrate_to(lambda t, z: -z, z, at(0.0), times[None], EXACT).z[0, :, 0]
    found = [torch.autograd.grad(one, z, retain_graph=True)[0].item() for one in after]
    np.testing.assert_allclose(found, np.exp(-times.numpy()), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("offset", [0.0, 1e-12])
def test_a_response_at_its_baseline_until_a_dose_has_the_gradient_of_the_dose(offset):
    kin, kout = (torch.tensor([value], dtype=torch.float64, requires_grad=True) for value in (0.5, 0.1))

    def field(t, z):
        return torch.stack([-z[:, 0], kin * (1 - 0.9 * z[:, 0] / (z[:, 0] + 10)) - kout * z[:, 1]], dim=1)

    dose = pd.DataFrame({"ds": [240.0], "amount": [100.0], "target": "A"})
    after = solve_schedule(field, [0.0, 5.0 + offset], read_schedule([250.0], dose, states=["A", "R"], t0=0.0))
    found = [float(part) for part in torch.autograd.grad(after[0, 1], [kin, kout])]
    np.testing.assert_allclose(found, [9.0451901081, -46.157244838], rtol=1e-8)


@pytest.mark.parametrize("duration", [8.0, 16.0, 24.0, 7.999])
def test_inputs_as_long_as_their_interval_have_a_steady_state(duration):
    rate = 1.3
    events = {"ds": [0.0], "amount": [100.0], "duration": [duration], "every": [8.0], "steady_state": [1]}
    found = solve(lambda t, z: -rate * z, {"A": 0.0}, [1.0], events=pd.DataFrame(events), t0=0.0)["A"].item()
    since = 1.0 + 8.0 * np.arange(100)
    given = 1.0 - np.exp(-rate * np.minimum(since, duration))
    truth = (100.0 / duration / rate * given * np.exp(-rate * np.maximum(since - duration, 0.0))).sum()
    assert found == pytest.approx(truth, rel=1e-9)


@pytest.mark.slow
def test_the_gradient_of_a_row_does_not_depend_on_the_others():
    system = torch.tensor(MATRICES["a stiff pair"], dtype=torch.float64)
    z0 = torch.tensor([[0.0, 0.0], [1.0, -2.0], [0.0, 3.0]], dtype=torch.float64)
    ends = at(3.0, 1.0, 7.0)

    rates = at(1.0, 0.5, 2.0)

    def gradients(rows):
        z, rate = z0[rows].clone().requires_grad_(), rates[rows].clone().requires_grad_()

        def field(t, z):
            return rate[:, None] * (torch.tanh(z) @ system.T)

        after = integrate(field, z, torch.zeros(len(rows)).double(), ends[rows], EXACT)
        return torch.cat([torch.autograd.grad(after.z.sum(), [z, rate])[0]], dim=1)

    together = gradients([0, 1, 2])
    for row in range(3):
        assert torch.equal(gradients([row])[0], together[row])


def test_a_solve_without_gradients_asks_the_field_no_more_often_than_before():
    asked = []

    def field(t, z):
        asked.append(1)
        return -z

    with torch.no_grad():
        steps = integrate(field, torch.ones(1, 1).double(), at(0.0), at(1.0), Dopri5()).n_steps.item()
    assert len(asked) <= 2 + 6 * (steps + 2)  # and at most two steps that were tried again


def test_where_the_field_has_no_derivative_the_state_is_still_solved_for():
    z = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    solution = integrate(lambda t, z: -z.abs().sqrt(), z, at(0.0), at(5.0), Dopri5())
    assert solution.status.item() == Status.OK
    assert solution.z.item() == 0.0


class _Once(torch.autograd.Function):
    """``-2 z``, with a first derivative only."""

    @staticmethod
    def forward(ctx, z):
        return -2.0 * z

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return -2.0 * gradient


def test_a_field_without_second_derivatives_has_its_gradient_too():
    assert jacobian(lambda t, z: _Once.apply(z), [0.0], 30.0, EXACT) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["leaf", "computed", "module"])
def test_the_effect_of_an_input_is_seen_before_there_is_any(form):
    wanted = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    weight = torch.tanh(wanted) if form == "computed" else wanted
    if form == "module":
        layer = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
        torch.nn.init.zeros_(layer.weight)
        weight = wanted = layer.weight

    def field(t, z):
        return torch.nn.functional.linear(torch.sin(10.0 * t)[:, None], weight) - z

    after = integrate(field, torch.zeros(1, 1).double(), at(0.0), at(20.0), Dopri5()).z
    truth = (np.sin(200.0) - 10.0 * np.cos(200.0) + 10.0 * np.exp(-20.0)) / 101.0
    assert torch.autograd.grad(after.sum(), wanted)[0].item() == pytest.approx(truth, abs=1e-6)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_no_unit_of_time_or_state_changes_a_gradient_at_rest(unit):
    rate, level = at(unit).requires_grad_(), at(unit).requires_grad_()
    z = at(unit)[None].requires_grad_()
    solver = Dopri5(rtol=1e-8, atol=1e-10 * unit)
    after = integrate(lambda t, z: rate * (level - z), z, at(0.0), at(40.0 / unit), solver)
    assert after.status.item() == Status.OK
    found = torch.autograd.grad(after.z.sum(), [z, level, rate])
    np.testing.assert_allclose([float(part) for part in found], [0.0, 1.0, 0.0], atol=1e-6)


@pytest.mark.slow
def test_single_precision_has_its_gradient_at_rest():
    for end in (10.0, 100.0, 1000.0):
        level, z = torch.ones(1, requires_grad=True), torch.ones(1, 1, requires_grad=True)
        after = integrate(lambda t, z, level=level: level - z, z, at(0.0), at(end), Dopri5()).z
        found = [float(part) for part in torch.autograd.grad(after.sum(), [level, z])]
        np.testing.assert_allclose(found, [1.0, np.exp(-end)], atol=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch's own, in forward mode
def test_functional_derivatives_in_either_mode_are_those_at_rest():
    def after(z, level):
        return integrate(lambda t, z: level - z, z, at(0.0), at(30.0), Dopri5()).z.sum()

    z, level = at(1.0)[None], torch.tensor(1.0, dtype=torch.float64)
    for transform in (torch.func.grad, torch.func.jacrev, torch.func.jacfwd):
        found = transform(after, argnums=(0, 1))(z, level)
        np.testing.assert_allclose([float(part) for part in found], [0.0, 1.0], atol=1e-6)
    along = torch.func.jvp(after, (z, level), (torch.ones_like(z), torch.ones_like(level)))[1]
    assert along.item() == pytest.approx(1.0, abs=1e-6)
    with torch.autograd.forward_ad.dual_level():
        pushed = after(torch.autograd.forward_ad.make_dual(z, torch.ones_like(z)), level)
        assert torch.autograd.forward_ad.unpack_dual(pushed).tangent.item() == pytest.approx(0.0, abs=1e-6)


def test_second_derivatives_at_rest_are_right():
    z = at(0.0)[None].requires_grad_()
    after = integrate(lambda t, z: 3.0 * z**2 - z, z, at(0.0), at(10.0), EXACT).z.sum()
    (slope,) = torch.autograd.grad(after, z, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), z)
    assert bend.item() == pytest.approx(6.0 * (np.exp(-10.0) - np.exp(-20.0)), abs=1e-7)


def test_a_state_at_rest_until_late_has_the_gradient_of_what_then_happens():
    z = at(1.0)[None].requires_grad_()
    after = integrate(
        lambda t, z: 2.0 * torch.sigmoid(20.0 * (t - 50.0))[:, None] * (1.0 - z), z, at(0.0), at(52.0), EXACT
    )
    passed = 2.0 * np.log1p(np.exp(40.0)) / 20.0
    assert torch.autograd.grad(after.z.sum(), z)[0].item() == pytest.approx(np.exp(-passed), abs=1e-7)


def test_a_jump_of_the_field_stops_no_solve_that_gradients_are_asked_of():
    def field(t, z):
        return torch.where(z > 1.0, 0.5, 1.0) + 0.0 * z

    z = at(0.3)[None]
    for solver in (Dopri5(), EXACT):
        plain = integrate(field, z, at(0.0), at(2.0), solver)
        asked = integrate(field, z.clone().requires_grad_(), at(0.0), at(2.0), solver)
        assert asked.status.item() == plain.status.item() == Status.OK
        assert asked.z.item() == pytest.approx(1.65, abs=2e-4)


def test_between_triggers_a_state_at_rest_has_its_gradient():
    z = at(0.0, 0.0)[None].requires_grad_()
    tick = Trigger(lambda t, z: z[:, 1] - 10.0, direction=1, reset=lambda t, z: torch.stack([z[:, 0], 0 * z[:, 1]], 1))

    def field(t, z):
        return torch.stack([-3.0 * z[:, 0], 1.0 + 0.0 * z[:, 1]], dim=1)

    after = integrate_triggers(field, z, at(0.0), at(25.0), Dopri5(), [tick]).z[0]
    np.testing.assert_allclose(torch.autograd.grad(after[0], z)[0][0], [0.0, 0.0], atol=1e-6)


def test_the_field_without_a_gradient_is_never_asked_off_its_way():
    asked = []

    def field(t, z):
        asked.append(z.detach().clone())
        return 1.0 - z

    integrate(field, at(1.0)[None], at(0.0), at(10.0), Dopri5())
    assert all((z == 1.0).all() for z in asked)

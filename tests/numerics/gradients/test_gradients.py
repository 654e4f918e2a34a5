"""Ways to the gradient of a solve, against closed forms and each other."""

import gc
import weakref

import numpy as np
import pytest
import torch
from scipy.linalg import expm, expm_frechet
from torch import nn

from tests.numerics.gradients.problems import ALL, FINE, MATRIX, SAME, STEPS, Leapfrog, lotka_volterra, tensor
from tsode import part
from tsode.errors import ParameterError
from tsode.numerics import RK4, Dopri5, TorchDiffEq
from tsode.numerics.affine_flow import AffineFlow
from tsode.numerics.base import Solution
from tsode.numerics.gradients import Adjoint, Backprop, Binomial, Checkpoint, Forward, Reversible
from tsode.numerics.integrate import integrate, integrate_through, integrate_to

named = pytest.mark.parametrize("gradient", ALL, ids=repr)
same = pytest.mark.parametrize("gradient", SAME, ids=repr)


@named
def test_a_linear_field_has_the_derivatives_of_its_exponential(gradient):
    matrix, z = tensor(MATRIX, True), tensor([[1.0, -0.5, 2.0]], True)
    end = integrate(lambda t, x: x @ matrix.T, z, tensor([0.2]), tensor([1.7]), FINE, gradient).z
    weights = tensor([[0.3, -1.0, 0.7]])
    by_matrix, by_start = torch.autograd.grad((weights * end).sum(), [matrix, z])
    flow = expm(1.5 * np.array(MATRIX))
    np.testing.assert_allclose(by_start[0], flow.T @ weights[0].numpy(), rtol=1e-8)
    for i in range(3):
        for j in range(3):
            direction = np.zeros((3, 3))
            direction[i, j] = 1.5
            change = expm_frechet(1.5 * np.array(MATRIX), direction, compute_expm=False)
            truth = weights[0].numpy() @ change @ z[0].detach().numpy()
            assert by_matrix[i, j].item() == pytest.approx(truth, rel=2e-8, abs=1e-8)


def all_inputs(rates, solver, gradient, seen="end"):
    """Gradients by rates that are made of others, starts, their times, and ends or times on both sides."""
    log_rates = rates.log().requires_grad_()
    field = lotka_volterra(log_rates.exp())
    z, t0 = tensor([[1.0, 1.2], [0.7, 2.0]], True), tensor([0.3, -0.2], True)
    if seen == "end":
        to = tensor([1.4, -0.9], True)
        states = integrate(field, z, t0, to, solver, gradient).z
    elif seen == "times":
        to = tensor([[0.9, -0.2, 0.3], [0.4, -0.1, 1.3]], True)
        states = integrate_to(field, z, t0, to, solver, gradient, query_step=0.1).z
    else:
        to = tensor([[0.5, 1.2], [0.1, 0.9]], True)
        end, way = integrate_through(field, z, t0, tensor([1.4, torch.inf]), to, solver, gradient, query_step=0.1)
        states = torch.cat([end, way.z.flatten(1)], dim=1)
    found = torch.autograd.grad(states.sin().sum(), [log_rates, z, t0, to])
    return states.detach(), torch.cat([x.flatten() for x in found])


@pytest.mark.slow
@pytest.mark.parametrize("seen", ["end", "times", "both"])
@pytest.mark.parametrize("solver", [FINE, STEPS], ids=["adaptive", "fixed"])
def test_all_ways_agree_on_starts_their_times_ends_queries_and_tensors_in_a_closure(solver, seen):
    rates = tensor([1.5, 1.0, 3.0, 1.0])
    states, truth = all_inputs(rates, solver, Backprop(), seen)
    for gradient in SAME:
        others, found = all_inputs(rates, solver, gradient, seen)
        torch.testing.assert_close(others, states, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-9, msg=lambda text, way=gradient: f"{way}: {text}")
    if solver is FINE:
        found = all_inputs(rates, solver, Adjoint(), seen)[1]
        torch.testing.assert_close(found, truth, rtol=3e-6, atol=3e-6)


def test_what_flows_in_along_time_has_its_gradient_in_every_way():
    values = tensor([[0.0, 1.0, -1.0, 0.5]], True)

    def field(t, z):
        place = t.clamp(0, 3 - 1e-12)
        left = place.long()
        share = (place - left)[:, None]
        return (1 - share) * values.gather(1, left[:, None]) + share * values.gather(1, left[:, None] + 1)

    z, start = tensor([[0.0]]), tensor([0.0])
    for gradient in ALL:
        end = integrate(field, z, start, tensor([3.0]), RK4(n_steps=6), gradient).z
        (found,) = torch.autograd.grad(end.sum(), values)
        np.testing.assert_allclose(found, [[0.5, 1.0, 1.0, 0.5]], rtol=1e-10, err_msg=repr(gradient))


@pytest.mark.slow
@named
def test_a_state_at_rest_has_the_gradient_of_its_linearisation(gradient):
    z = tensor([[0.0]], True)
    end = integrate(lambda t, x: -x, z, tensor([0.0]), tensor([6.0]), FINE, gradient).z
    assert torch.autograd.grad(end.sum(), z)[0].item() == pytest.approx(np.exp(-6.0), rel=1e-6)


@pytest.mark.slow
def test_the_adjoint_does_not_lose_a_start_that_has_decayed():
    finest = Dopri5(rtol=1e-10, atol=1e-16)  # the state ends at 2e-9
    rate, z = tensor([-50.0], True), tensor([[1.0]], True)
    for gradient in (Checkpoint(), Adjoint()):
        end = integrate(lambda t, x: rate * x, z, tensor([0.0]), tensor([0.4]), finest, gradient).z
        found = torch.autograd.grad(end.sum(), [z, rate])
        truth = [np.exp(-20.0), 0.4 * np.exp(-20.0)]
        np.testing.assert_allclose([x.item() for x in found], truth, rtol=1e-4, err_msg=repr(gradient))


@pytest.mark.parametrize("gradient", [Backprop(), Forward()], ids=repr)
def test_second_derivatives_are_right(gradient):
    rate, z, end = tensor([-0.7], True), tensor([[1.3]], True), tensor([1.1], True)
    state = integrate(lambda t, x: rate * x, z, tensor([0.0]), end, FINE, gradient).z
    first = torch.autograd.grad(state.square().sum(), [rate, z, end], create_graph=True)
    second = torch.stack([torch.cat([x.flatten() for x in torch.autograd.grad(
        part.sum(), [rate, z, end], retain_graph=True)]) for part in first])  # fmt: skip
    k, x, t = -0.7, 1.3, 1.1
    truth = np.exp(2 * k * t) * np.array([
        [4 * t**2 * x**2, 4 * t * x, 2 * x**2 + 4 * k * t * x**2],
        [4 * t * x, 2.0, 4 * k * x],
        [2 * x**2 + 4 * k * t * x**2, 4 * k * x, 4 * k**2 * x**2],
    ])  # fmt: skip
    np.testing.assert_allclose(second, truth, rtol=1e-7)


@pytest.mark.parametrize("gradient", ["checkpoint", "binomial", "adjoint"])
def test_second_derivatives_are_refused_by_name_where_there_are_none(gradient):
    z = tensor([[1.3]], True)
    end = integrate(lambda t, x: -x, z, tensor([0.0]), tensor([1.0]), STEPS, gradient).z
    with pytest.raises(ParameterError, match=f"gradient='{gradient}' gives first derivatives only"):
        torch.autograd.grad(end.sum(), z, create_graph=True)


@pytest.mark.slow
def test_steps_that_are_taken_back_give_the_gradient_of_backprop():
    length = tensor([1.3], True)
    z = tensor([[1.0, 0.2], [2.0, -0.1]], True)

    def pendulum(t, z):
        return torch.stack([z[:, 1], -torch.sin(z[:, 0]) / length], dim=1)

    solver = Leapfrog(n_steps=200)
    found = []
    for gradient in ("backprop", "reversible"):
        end = integrate(pendulum, z, tensor([0.0, 0.0]), tensor([20.0, 17.0]), solver, gradient).z
        found.append(torch.cat([x.flatten() for x in torch.autograd.grad(end.square().sum(), [z, length])]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-10, atol=1e-10)


@pytest.mark.slow
def test_fields_that_take_a_gradient_themselves_are_solved_in_every_way():
    mass = tensor([2.0], True)

    def hamiltonian(t, z):
        with torch.enable_grad():
            z = z if z.requires_grad else z.detach().requires_grad_()
            energy = 0.5 * (z[:, 0].square() + z[:, 1].square() / mass).sum()
            (slope,) = torch.autograd.grad(energy, z, create_graph=True)
        return torch.stack([slope[:, 1], -slope[:, 0]], dim=1)

    found = []
    for gradient in (Backprop(), Checkpoint(), Binomial()):
        z = tensor([[1.0, 0.0]], True)
        end = integrate(hamiltonian, z, tensor([0.0]), tensor([2.0]), RK4(n_steps=40), gradient).z
        found.append(torch.cat([x.flatten() for x in torch.autograd.grad(end.sum(), [z, mass])]))
    rate = np.sqrt(0.5)
    truth = [np.cos(2 * rate) - 2 * rate * np.sin(2 * rate), rate * np.sin(2 * rate) + np.cos(2 * rate)]
    truth[1] = np.sin(2 * rate) / (2 * rate) + np.cos(2 * rate)
    np.testing.assert_allclose(found[0][:2], truth, rtol=1e-6)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-10, atol=1e-10)


class _Hidden(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, rate):
        ctx.save_for_backward(z, rate)
        return rate * z

    @staticmethod
    def backward(ctx, slope):
        z, rate = ctx.saved_tensors
        return rate * slope, (z * slope).sum(dim=0)


@same
def test_a_tensor_that_would_get_no_gradient_is_an_error(gradient):
    rate, z = -tensor([0.0], True).exp(), tensor([[1.0]], True)

    def found():
        end = integrate(lambda t, x: _Hidden.apply(x, rate), z, tensor([0.0]), tensor([1.0]), STEPS, gradient).z
        return torch.autograd.grad(end.sum(), z)

    with pytest.raises(ParameterError, match="requires a gradient and would get none"):
        found()


@pytest.mark.parametrize("gradient", [Checkpoint(), Binomial(), Adjoint()], ids=repr)
def test_weights_reach_their_gradient_through_functions_of_their_own(gradient):
    rate, z = tensor([-1.0], True), tensor([[1.0]], True)
    end = integrate(lambda t, x: _Hidden.apply(x, rate), z, tensor([0.0]), tensor([1.0]), FINE, gradient).z
    assert torch.autograd.grad(end.sum(), rate)[0].item() == pytest.approx(np.exp(-1.0), rel=1e-8)


@named
def test_the_solution_says_which_way_was_taken(gradient):
    z, start = tensor([[1.0]], True), tensor([0.0])
    assert integrate(lambda t, x: -x, z, start, start + 1, STEPS, gradient).gradient == gradient
    assert integrate_to(lambda t, x: -x, z, start, start[None] + 1, STEPS, gradient).gradient == gradient


def test_ways_are_asked_for_by_name_by_part_or_as_objects():
    z, start = tensor([[1.0]], True), tensor([0.0])

    def way(gradient):
        solution: Solution = integrate(lambda t, x: -x, z, start, start + 1, STEPS, gradient)
        return solution.gradient

    assert way("checkpoint") == Checkpoint(every=1)
    assert way(part("checkpoint", every=5)) == Checkpoint(every=5)
    assert way(Binomial(8)) == Binomial(snapshots=8)


@pytest.mark.parametrize(
    ("solver", "gradient", "match"),
    [
        (Dopri5(), Reversible(), "needs steps that can be taken back, which Dopri5 has not"),
        (TorchDiffEq("rk4"), Checkpoint(2), "needs a solver that goes step by step, which TorchDiffEq does not"),
        (TorchDiffEq(), Forward(), "'forward' is not offered by TorchDiffEq"),
        (TorchDiffEq(), Adjoint(Dopri5()), "TorchDiffEq solves its adjoint by itself"),
        (AffineFlow(), "binomial", "'binomial' is not offered by AffineFlow"),
        (Dopri5(), Adjoint(TorchDiffEq()), "cannot solve the adjoint equation"),
    ],
)
def test_pairs_that_do_not_fit_are_refused_by_name(solver, gradient, match):
    z, start = tensor([[1.0]]), tensor([0.0])
    with pytest.raises(ParameterError, match=match):
        integrate(lambda t, x: -x, z, start, start + 1, solver, gradient)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ParameterError, match="every must be at least 1"):
        Checkpoint(0)
    with pytest.raises(ParameterError, match="snapshots must be at least 2"):
        Binomial(1)


@named
def test_rows_that_fail_leave_the_gradients_of_others_alone(gradient):
    z = tensor([[1.0], [1.0], [torch.nan]], True)
    end = integrate(lambda t, x: x * x, z, tensor([0.0] * 3), tensor([0.5, 30.0, 1.0]), RK4(max_step=0.02), gradient)
    assert end.status.tolist()[0] == 0
    assert all(end.status.tolist()[1:])
    (found,) = torch.autograd.grad(end.z[0].sum(), z)
    assert found[0].item() == pytest.approx(4.0, rel=1e-6)


@named
def test_nothing_holds_a_graph_after_its_result_is_gone(gradient):
    class Field(nn.Module):
        def __init__(self):
            super().__init__()
            self.rate = nn.Parameter(tensor([1.0]))

        def forward(self, t, z):
            return -self.rate * z

    field, z = Field(), tensor([[1.0]], True)
    gc.collect()
    gc.disable()
    try:
        end = integrate(field, z, tensor([0.0]), tensor([1.0]), STEPS, gradient).z
        end.sum().backward()
        alive = weakref.ref(field.rate)
        del end, field
        assert alive() is None
    finally:
        gc.enable()


@named
def test_a_span_of_no_length_hands_its_gradient_on(gradient):
    z = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    t = torch.zeros(2, dtype=torch.float64)
    end = integrate(lambda t, z: -z, z, t, t, FINE, gradient).z
    asked = integrate_to(lambda t, z: -z, z, t, t[:, None], FINE, gradient).z
    for found in (end, asked[:, 0]):
        assert torch.equal(found, z)
        assert torch.equal(torch.autograd.grad(found.sum(), z)[0], torch.ones_like(z))

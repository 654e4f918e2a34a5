import pytest
import torch
from torch import nn
from torchdiffeq._impl.odeint import SOLVERS as THEIRS

from tests.helpers import solve
from tests.numerics.systems import SYSTEMS
from tsode.core.status import Status
from tsode.dynamics import GRUODE
from tsode.errors import ParameterError
from tsode.numerics import RK4, Dopri5, Euler, Midpoint, TorchDiffEq
from tsode.numerics.integrate import integrate, integrate_to
from tsode.testing.convergence import convergence_order

SPANS = torch.tensor([0.02, -0.5, 1.5], dtype=torch.float64)
START = torch.tensor([0.0, 3.0, -1.0], dtype=torch.float64)


@pytest.mark.parametrize("name", ["oscillator", "logistic", "driven"])
def test_our_adaptive_solver_agrees_with_it_at_tight_tolerances(name):
    system = SYSTEMS[name]
    z0 = system.z0.expand(3, -1)
    times = START[:, None] + torch.linspace(-1, 1, 7, dtype=torch.float64)
    theirs = TorchDiffEq(rtol=1e-10, atol=1e-10)
    ours = Dopri5(rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        integrate(system.field, z0, START, START + SPANS, ours).z,
        integrate(system.field, z0, START, START + SPANS, theirs).z, rtol=1e-8, atol=1e-8,
    )  # fmt: skip
    torch.testing.assert_close(
        integrate_to(system.field, z0, START, times, ours).z,
        integrate_to(system.field, z0, START, times, theirs).z, rtol=1e-8, atol=1e-8,
    )  # fmt: skip


@pytest.mark.parametrize(("ours", "method"), [(Euler, "euler"), (Midpoint, "midpoint")])
def test_our_fixed_steps_are_its_fixed_steps(ours, method):
    system = SYSTEMS["driven"]
    z0 = system.z0.expand(3, -1)
    solutions = [
        integrate(system.field, z0, START, START + SPANS, solver).z
        for solver in (ours(n_steps=3), TorchDiffEq(method, n_steps=3))
    ]
    torch.testing.assert_close(*solutions, rtol=1e-12, atol=1e-12)


def test_its_rk4_is_another_method_of_order_four():
    # torchdiffeq's "rk4" is the 3/8 rule.
    system = SYSTEMS["spiral"]
    ours = solve(system.field, system.z0, 1.0, solver=RK4(n_steps=20))
    theirs = solve(system.field, system.z0, 1.0, solver=TorchDiffEq("rk4", n_steps=20))
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["euler", "midpoint", "heun2", "heun3", "rk4"])
def test_error_of_a_fixed_method_falls_with_its_order(method):
    solver, system, start = TorchDiffEq(method), SYSTEMS["spiral"], torch.zeros(1, dtype=torch.float64)
    exact = lambda t: system.exact(system.z0, t)  # noqa: E731
    order, _ = convergence_order(solver, system.field, system.z0, start, start + 1.5, exact)
    assert order == pytest.approx(solver.order, abs=0.15)
    assert not solver.shares_steps


@pytest.mark.parametrize("method", ["dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun", "explicit_adams"])
def test_stated_order_is_that_of_torchdiffeq(method):
    assert TorchDiffEq(method).order == THEIRS[method].order
    assert TorchDiffEq(method).shares_steps == (method != "explicit_adams")


def test_adjoint_gradient_is_that_of_the_solution():
    torch.manual_seed(0)
    field = GRUODE(3).double()
    z = torch.randn(3, 3, dtype=torch.float64).requires_grad_()
    inputs = [z, *field.parameters()]
    gradients = [
        torch.autograd.grad(integrate(field, z, START, START + SPANS, solver, gradient).z.square().sum(), inputs)
        for solver, gradient in ((TorchDiffEq(rtol=1e-9, atol=1e-9), "adjoint"), (Dopri5(1e-9, 1e-9), "backprop"))
    ]
    for adjoint, backprop in zip(*gradients):
        torch.testing.assert_close(adjoint, backprop, rtol=1e-6, atol=1e-6)


def test_adjoint_needs_a_module():
    with pytest.raises(ParameterError, match=r"needs a field that is an nn\.Module"):
        integrate(lambda t, z: -z, torch.ones(3, 1), START, START + 1, TorchDiffEq(), gradient="adjoint")


def test_a_failed_solve_is_a_status_not_an_exception():
    z = torch.tensor([[1.0], [0.1]], dtype=torch.float64)
    start = torch.zeros(2, dtype=torch.float64)

    def statuses(solver):
        solution = integrate(lambda t, z: z * z, z, start, start + 2, solver)
        assert solution.z.isfinite().all()
        return solution.status.tolist()

    assert statuses(TorchDiffEq()) in ([Status.STEP_TOO_SMALL] * 2, [Status.NON_FINITE] * 2)
    assert statuses(TorchDiffEq(max_steps=5)) == [Status.MAX_STEPS] * 2
    assert statuses(TorchDiffEq("euler", n_steps=50)) == [Status.NON_FINITE, Status.OK]


def test_other_assertions_pass_through():
    class Wrong(nn.Module):
        def forward(self, t, z):
            raise AssertionError("a bug in the field")

    with pytest.raises(AssertionError, match="a bug in the field"):
        integrate(Wrong(), torch.ones(3, 1), START, START + 1, TorchDiffEq())


def test_unknown_methods_are_refused():
    with pytest.raises(ParameterError, match=r"'tsit5' is not one of torchdiffeq's.*dopri5"):
        TorchDiffEq("tsit5")
    with pytest.raises(ParameterError, match="at least 1"):
        TorchDiffEq(n_steps=0)


def _saved_numbers(gradient, n_steps, method="rk4"):
    """How many numbers a solve of 100 states keeps for its backward pass."""
    kept = {}

    def keep(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes() // x.element_size()
        return x

    field = GRUODE(50).double()
    z = torch.ones(2, 50, dtype=torch.float64, requires_grad=True)
    at = torch.zeros(2, dtype=torch.float64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        solution = integrate(field, z, at, at + 1.0, TorchDiffEq(method, n_steps=n_steps), gradient)
    solution.z.sum().backward()
    return sum(kept.values())


@pytest.mark.slow
def test_checkpoints_keep_a_state_a_step_and_the_adjoint_keeps_none():
    of_a_step = {way: (_saved_numbers(way, 40) - _saved_numbers(way, 20)) / 20 for way in ("backprop", "checkpoint")}
    assert of_a_step["checkpoint"] <= 210  # two states, of 100 numbers each, and the times
    assert of_a_step["backprop"] >= 15 * of_a_step["checkpoint"]
    assert _saved_numbers("adjoint", 40) == _saved_numbers("adjoint", 20)


@pytest.mark.parametrize("method", ["euler", "midpoint", "heun2", "heun3", "rk4"])
def test_checkpoints_give_the_gradient_of_backprop(method):
    torch.manual_seed(0)
    field = GRUODE(3).double()
    at = torch.zeros(2, dtype=torch.float64)
    found = []
    for gradient in ("backprop", "checkpoint"):
        z = torch.linspace(-1.0, 1.0, 6, dtype=torch.float64).reshape(2, 3).requires_grad_()
        solution = integrate(field, z, at, at + 1.5, TorchDiffEq(method, n_steps=5), gradient)
        found.append(torch.autograd.grad(solution.z.square().sum(), [z, *field.parameters()]))
    for left, right in zip(*found):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-14)


def test_methods_that_cannot_be_cut_into_steps_offer_no_checkpoints():
    for method in ("dopri5", "explicit_adams"):
        with pytest.raises(ParameterError, match="backprop, adjoint"):
            integrate(GRUODE(2), torch.zeros(3, 2), START, START + SPANS, TorchDiffEq(method), "checkpoint")

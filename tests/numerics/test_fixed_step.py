import math

import pytest
import torch

from tests.helpers import solve
from tests.numerics.systems import SYSTEMS
from tsode.core.status import Status
from tsode.errors import ParameterError
from tsode.numerics import RK4, SOLVERS, Euler, Midpoint
from tsode.numerics.fixed_step import FixedStep
from tsode.numerics.integrate import integrate, integrate_to

# Those of fixed steps that take any field.
FREE = [name for name, made in SOLVERS.items() if issubclass(made, FixedStep) and made.field_type is object]


def times(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("name", FREE)
def test_dense_output_meets_the_end_of_the_step(name):
    system, solver = SYSTEMS["logistic"], SOLVERS[name]
    ends = torch.arange(1, 6, dtype=torch.float64) * 0.3
    inside = integrate_to(system.field, system.z0, times(0.0), ends[None], solver(max_step=0.3)).z[0]
    stepped = torch.cat([solve(system.field, system.z0, 0.3 * n, solver=solver(n_steps=n)) for n in range(1, 6)])
    torch.testing.assert_close(inside, stepped, rtol=1e-13, atol=1e-13)


def test_max_step_cuts_each_row_into_its_own_number_of_steps():
    system = SYSTEMS["oscillator"]
    span = times(0.0, 0.05, 0.1, 0.30000000001, -0.95)
    solution = integrate(system.field, system.z0.expand(5, -1), times(*[0.0] * 5), span, Euler(max_step=0.1))
    assert solution.n_steps.tolist() == [0, 1, 1, 3, 10]  # the fourth is longer by a rounding error only
    rows = [solve(system.field, system.z0, float(s), solver=Euler(n_steps=max(int(n), 1)))
            for s, n in zip(span, solution.n_steps)]  # fmt: skip
    torch.testing.assert_close(solution.z, torch.cat(rows), rtol=1e-13, atol=1e-13)


def test_rows_that_have_arrived_are_not_evaluated_past_their_end():
    def only_before_one(t, z):  # grows without bound at t = 1, with an infinite slope there
        return (1 / (1 - t)).to(z.dtype)[:, None] * torch.ones_like(z)

    z = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
    solution = integrate(only_before_one, z, times(0.0, -9.0), times(0.9, 0.9), Midpoint(max_step=0.1))
    (gradient,) = torch.autograd.grad(solution.z.sum(), z)
    assert solution.n_steps.tolist() == [9, 99]
    assert solution.z[0].item() == pytest.approx(math.log(10), abs=0.05)
    assert gradient.tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize("solver", [Euler(max_step=0.05), Midpoint(n_steps=40), RK4(max_step=0.05)])
def test_a_row_that_blows_up_says_so_and_leaves_the_others_alone(solver):
    z = torch.tensor([[1.0], [0.2], [1.0]], requires_grad=True)
    weight = torch.ones(1, requires_grad=True)
    end = times(3.0, 3.0, 0.5)
    solution = integrate(lambda t, z: weight * z * z, z, torch.zeros_like(end), end, solver)
    assert solution.status.tolist() == [Status.NON_FINITE, Status.OK, Status.OK]
    assert solution.z.isfinite().all()
    alone = integrate(lambda t, z: weight * z * z, z[1:], torch.zeros_like(end[1:]), end[1:], solver)
    torch.testing.assert_close(solution.z[1:], alone.z, rtol=1e-6, atol=0)
    gradients = torch.autograd.grad(solution.z[1:].sum(), [z, weight])
    assert all(g.isfinite().all() for g in gradients)
    torch.testing.assert_close(gradients[1], torch.autograd.grad(alone.z.sum(), weight)[0], rtol=1e-5, atol=0)


def test_an_overflow_in_a_slope_without_weight_is_noticed():
    # The first slope of the midpoint rule has weight zero in the step; here it alone is infinite.
    def field(t, z):
        return torch.where(t[:, None] == 0, torch.inf, torch.ones_like(z))

    solution = integrate(field, torch.zeros(1, 1), times(0.0), times(1.0), Midpoint())
    assert solution.status.tolist() == [Status.NON_FINITE]
    assert solution.z.tolist() == [[0.0]]


def test_a_row_that_needs_too_many_steps_stops_there():
    system = SYSTEMS["oscillator"]
    solver = RK4(max_step=0.1, max_steps=20)
    solution = integrate(system.field, system.z0.expand(2, -1), times(0.0, 0.0), times(1e12, 1.0), solver)
    assert solution.status.tolist() == [Status.MAX_STEPS, Status.OK]
    assert solution.n_steps.tolist() == [20, 10]
    torch.testing.assert_close(solution.z[1:], system.exact(system.z0, times(1.0)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_steps": 0}, "between 1 and max_steps"),
        ({"max_step": -1.0}, "positive length of time"),
        ({"max_step": float("nan")}, "positive length of time"),
        ({"n_steps": 2, "max_step": 0.1}, "give one of them"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ParameterError, match=message):
        RK4(**settings)

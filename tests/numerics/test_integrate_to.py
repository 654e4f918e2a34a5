"""Answers between the steps: which steps are taken, and what a failure leaves behind."""

import pytest
import torch

from tests.numerics.systems import SYSTEMS
from tsode.core.status import Status
from tsode.numerics import RK4, Dopri5, Euler, Midpoint
from tsode.numerics.integrate import integrate_to


def times(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("solver", "step"), [(Midpoint(max_step=0.1), 0.1), (Midpoint(), 0.25), (Midpoint(n_steps=5), 0.05)]
)
def test_each_row_takes_the_steps_up_to_its_own_furthest_query(solver, step):
    system = SYSTEMS["oscillator"]
    asked = torch.tensor([[0.0, 0.0], [0.02, 0.01], [0.3, 0.99], [-0.6, 0.3]], dtype=torch.float64)
    solution = integrate_to(system.field, system.z0.expand(4, -1), times(0, 0, 0, 0), asked, solver)
    expected = (asked.clamp(min=0).amax(dim=1) / step).ceil() + (-asked.clamp(max=0).amin(dim=1) / step).ceil()
    assert solution.n_steps.tolist() == expected.tolist()


@pytest.mark.parametrize("h", [0.1, 0.3, 1 / 3])
def test_a_query_at_the_end_of_a_step_does_not_depend_on_later_ones(h):
    system = SYSTEMS["logistic"]
    ends = h * torch.arange(1, 30, dtype=torch.float64)  # some of them a rounding error past the end, some before
    together = integrate_to(system.field, system.z0, times(0.0), ends[None], Euler(max_step=h)).z[0]
    alone = [integrate_to(system.field, system.z0, times(0.0), end[None, None], Euler(max_step=h)).z[0] for end in ends]
    torch.testing.assert_close(torch.cat(alone), together, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("solver", [RK4(max_step=0.01), Dopri5(rtol=1e-5)])
def test_queries_before_a_failure_are_answered_and_later_ones_keep_the_last_state(solver):
    z = torch.tensor([[1.0], [0.2]], dtype=torch.float64, requires_grad=True)
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    asked = torch.tensor([[0.5, 0.8, 1.5, 3.0]], dtype=torch.float64).expand(2, -1)
    solution = integrate_to(lambda t, z: weight * z * z, z, times(0.0, 0.0), asked, solver)
    assert solution.status[0] > Status.OK
    assert solution.status[1] == Status.OK
    exact = z[..., None] / (1 - z[..., None] * asked[:, None])
    right = torch.tensor([[True, True, False, False], [True] * 4])
    torch.testing.assert_close(solution.z[right], exact[:, 0][right][:, None], rtol=1e-4, atol=0)
    assert solution.z.isfinite().all()
    assert solution.z[0, 2] == solution.z[0, 3]
    gradients = torch.autograd.grad(solution.z[right].sum(), [z, weight])
    expected = torch.autograd.grad(exact[:, 0][right].sum(), z)[0]
    torch.testing.assert_close(gradients[0], expected, rtol=1e-3, atol=0)
    assert gradients[1].isfinite().all()


def test_gradient_with_respect_to_a_query_time_is_the_drift_there():
    system = SYSTEMS["driven"]
    asked = torch.tensor([[0.4, -0.7, 1.23]], dtype=torch.float64, requires_grad=True)
    z = integrate_to(system.field, system.z0, times(0.0), asked, RK4(max_step=0.05)).z[0]
    drift = system.field(asked[0].detach(), z.detach())
    for channel in range(2):
        (gradient,) = torch.autograd.grad(z[:, channel].sum(), asked, retain_graph=True)
        torch.testing.assert_close(gradient[0], drift[:, channel], rtol=1e-4, atol=1e-4)

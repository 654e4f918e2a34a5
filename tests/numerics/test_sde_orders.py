"""Strong orders of our methods, measured against the known solution along the same Brownian paths."""

import pytest
import torch

from tests.numerics.sde_systems import SDE_SYSTEMS, brownian
from tsode.core.status import Status
from tsode.dynamics import OrnsteinUhlenbeck
from tsode.numerics import EulerMaruyama, Milstein
from tsode.numerics.sde import integrate_sde, integrate_sde_to

N_GROUPS, N_PATHS = 10, 400
STEPS = [2.0**-k for k in range(4, 8)]


def strong_errors(system, method, time=1.0):
    """Mean absolute error at a time of each group of paths with each step: Tensor[steps groups]."""
    n = N_GROUPS * N_PATHS
    paths = brownian(n, depth=6)
    start = torch.zeros(n, dtype=torch.float64)
    z = system.z0.expand(n, -1)
    exact = system.exact(z, start + time, paths(start + time))
    errors = []
    with torch.no_grad():
        for step in STEPS:
            solution = integrate_sde_to(system.sde, z, start, (start + time)[:, None], method(), paths, step)
            assert (solution.status == Status.OK).all()
            errors.append((solution.z[:, 0] - exact).abs().reshape(N_GROUPS, N_PATHS).mean(dim=1))
    return torch.stack(errors)


def order(errors):
    """Slope of log error over log step, and its standard error from the groups of paths."""
    x = torch.tensor(STEPS, dtype=torch.float64).log()
    x = x - x.mean()
    slopes = (x[:, None] * errors.log()).sum(dim=0) / x.square().sum()
    return float(slopes.mean()), float(slopes.std() / N_GROUPS**0.5)


@pytest.mark.parametrize(("method", "expected"), [(EulerMaruyama, 0.5), (Milstein, 1.0)])
@pytest.mark.parametrize("name", SDE_SYSTEMS)
def test_strong_order_with_multiplicative_noise_is_a_half_for_euler_maruyama_and_one_for_milstein(
    name, method, expected
):
    slope, error = order(strong_errors(SDE_SYSTEMS[name], method))
    # Six standard errors, and .03 for the terms of higher order in steps of up to 1/16.
    assert abs(slope - expected) <= 6 * error + 0.03
    assert 6 * error < 0.1


def test_euler_maruyama_has_strong_order_one_with_additive_noise():
    # The Ornstein-Uhlenbeck process with a finer solution along the same path for its truth.
    sde, n = OrnsteinUhlenbeck(1).double(), 1000
    paths, start = brownian(n, depth=6), torch.zeros(1000, dtype=torch.float64)
    z = torch.ones(n, 1, dtype=torch.float64)

    def end(step):
        with torch.no_grad():
            return integrate_sde(sde, z, start, start + 1, EulerMaruyama(max_step=step), paths).z

    fine = end(2.0**-8)
    errors = torch.stack([(end(step) - fine).abs().mean() for step in (2.0**-3, 2.0**-4)])
    # Errors of a method of order 1 beside a solution with a step h/32 or h/16 of its own: 31/32 and 15/16 of the full.
    assert abs(float((errors[0] / errors[1]).log2()) - 1.0) < 0.15


@pytest.mark.parametrize(("method", "expected"), [(EulerMaruyama, 0.5), (Milstein, 1.0)])
def test_answers_inside_the_steps_have_the_order_of_the_method(method, expected):
    slope, error = order(strong_errors(SDE_SYSTEMS["growth"], method, time=83 / 128))  # inside a step of any length
    assert abs(slope - expected) <= 6 * error + 0.05

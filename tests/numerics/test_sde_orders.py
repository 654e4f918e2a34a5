"""Strong orders of all methods, measured against the known solution along the same Brownian paths."""

import pytest
import torch

from tests.numerics.sde_systems import SDE_SYSTEMS, brownian
from tsode.dynamics import OrnsteinUhlenbeck
from tsode.numerics import SDE_SOLVERS, EulerMaruyama
from tsode.numerics.sde import integrate_sde, integrate_sde_to
from tsode.numerics.sde_steps import SDEStep
from tsode.testing.convergence import ROUNDS, strong_errors, strong_order

PAIRS = [
    (method, name)
    for method, made in SDE_SOLVERS.items()
    for name, system in SDE_SYSTEMS.items()
    if system.sde.calculus in made().calculi
]


@pytest.mark.parametrize(("method", "name"), PAIRS)
def test_error_with_multiplicative_noise_falls_with_the_stated_strong_order(method, name):
    solver, system = SDE_SOLVERS[method](), SDE_SYSTEMS[name]
    slope, error = strong_order(strong_errors(solver, system.sde, system.exact, system.z0))
    # Six standard errors, and .03 for the terms of higher order in steps of up to 1/16.
    assert abs(slope - solver.strong_order) <= 6 * error + 0.03
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


@pytest.mark.parametrize("method", [name for name, made in SDE_SOLVERS.items() if issubclass(made, SDEStep)])
def test_answers_inside_the_steps_have_the_order_of_the_method(method):
    solver, system, n = SDE_SOLVERS[method](), SDE_SYSTEMS["growth"], 4000
    paths, start = brownian(n, depth=6), torch.zeros(n, dtype=torch.float64)
    z, time = system.z0.expand(n, -1), start + 83 / 128  # inside a step of any length
    exact = system.exact(z, time, paths(time))
    with torch.no_grad():
        ends = [integrate_sde_to(system.sde, z, start, time[:, None], solver, paths, 1 / n).z[:, 0] for n in ROUNDS]
    slope, error = strong_order(torch.stack([(end - exact).abs().reshape(10, -1).mean(dim=1) for end in ends]))
    assert abs(slope - solver.strong_order) <= 6 * error + 0.05

"""Orders of convergence of all solvers that go step by step, against closed forms."""

import pytest
import torch

from tests.numerics.systems import SYSTEMS
from tsode.numerics import SOLVERS
from tsode.numerics.stepwise import StepwiseSolver
from tsode.testing.convergence import convergence_order

# "two_rates" is stiff: errors fall with the order only in steps too short to be of use.
PAIRS = [
    (solver, system)
    for solver, made in SOLVERS.items()
    for system in ("oscillator", "spiral", "logistic", "driven")
    if issubclass(made, StepwiseSolver) and isinstance(SYSTEMS[system].field, made.field_type)
]


@pytest.mark.parametrize(("solver", "name"), PAIRS)
def test_error_falls_with_the_stated_order(solver, name):
    made, system, start = SOLVERS[solver](), SYSTEMS[name], torch.zeros(1, dtype=torch.float64)
    exact = lambda t: system.exact(system.z0, t)  # noqa: E731
    order, order_inside = convergence_order(made, system.field, system.z0, start, start + 1.5, exact)
    # The slope comes within a few hundredths of the order at these lengths; a wrong coefficient loses a whole order.
    # The error's own term of tsit5 is very small: errors fall by that of the next order at first.
    assert made.order - 0.15 < order < made.order + (0.5 if solver == "tsit5" else 0.15)
    # 3 is the order of a cubic; at some lengths it is hidden by the higher order at the ends of the steps.
    assert order_inside > min(0.9 * made.order, 3.0)

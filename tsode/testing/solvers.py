"""Contract checks of solvers of ordinary and stochastic differential equations."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tsode.core.status import Status
from tsode.numerics.base import Solution, Solver, VectorField
from tsode.numerics.brownian import BrownianPath
from tsode.numerics.dopri5 import Dopri5
from tsode.numerics.integrate import integrate, integrate_through, integrate_to
from tsode.numerics.sde import DiagonalSDE, SDESolver, integrate_sde, integrate_sde_to
from tsode.numerics.stepwise import StepwiseSolver
from tsode.testing.assertions import assert_close, assert_gradient
from tsode.testing.convergence import convergence_order, strong_errors, strong_order
from tsode.testing.equations import ExampleField, ExampleOscillator, ExampleSDE, Growth

__all__ = ["check_sde_solver", "check_solver"]

T0 = torch.tensor([0.0, 2.0, -1.0, 5.0, 0.3], dtype=torch.float64)
ALL, MIXED = torch.arange(5), torch.tensor([3, 0, 4, 2, 1])
CLOSE = 1e-12
COARSE = 1e-3  # steps that a solver chooses itself, for each row or all of them, are at least so good
SAME_AS_BACKPROP = ("checkpoint", "binomial", "reversible", "forward")  # ways that differentiate the steps
HUGE = 1e200  # its square is infinite


@dataclass(frozen=True)
class _ODEProblem:
    """A field and its solver, asked about some of five rows."""

    field: VectorField
    solver: Solver
    gradient: str = "backprop"
    # One is empty, one runs backward; none is a multiple of a usual step, where the number of steps would change.
    spans = torch.tensor([0.713, 0.907, 0.0, -0.513, 0.013], dtype=torch.float64)
    offsets = torch.tensor([0.413, -0.307, 0.0, 0.931], dtype=torch.float64)

    def solve(self, z: Tensor, rows: Tensor, t0: Tensor, t1: Tensor) -> Solution:
        return integrate(self.field, z, t0, t1, self.solver, self.gradient)

    def solve_to(self, z: Tensor, rows: Tensor, t0: Tensor, times: Tensor) -> Solution:
        return integrate_to(self.field, z, t0, times, self.solver, self.gradient)


@dataclass(frozen=True)
class _SDEProblem:
    """A stochastic equation and its solver, asked about some of five rows along their own paths."""

    sde: DiagonalSDE
    solver: SDESolver
    spans = torch.tensor([0.713, 0.907, 0.0, 0.513, 0.013], dtype=torch.float64)
    offsets = torch.tensor([0.413, 0.107, 0.0, 0.931], dtype=torch.float64)

    def paths(self, rows: Tensor, t0: Tensor) -> BrownianPath:
        drawn = BrownianPath.draw(torch.Generator().manual_seed(2), 5, 2, 6.0)
        return drawn.starting_at(t0.detach(), rows)

    def solve(self, z: Tensor, rows: Tensor, t0: Tensor, t1: Tensor) -> Solution:
        return integrate_sde(self.sde, z, t0, t1, self.solver, self.paths(rows, t0))

    def solve_to(self, z: Tensor, rows: Tensor, t0: Tensor, times: Tensor) -> Solution:
        return integrate_sde_to(self.sde, z, t0, times, self.solver, self.paths(rows, t0))


Problem = _ODEProblem | _SDEProblem


def check_solver(solver: Solver, field: Any = None) -> None:
    """Check shapes, dtypes, rows, queries, failures, gradients and the order of convergence of a solver.

    The contract: states keep their shape and dtype, with one int64 status and one number of steps a row; a row of
    length zero comes back bit for bit; rows and queries do not see each other (with `shares_steps`, within a
    tolerance), nor does an end see what is read on the way to it; time runs backward too, and a shift of it changes
    nothing for an autonomous field; a row that is not finite comes back as it is, one that blows up keeps its last
    finite state, and both say so in their status; gradients by "backprop" are right and those by "checkpoint" the
    same, as are those by "binomial", "reversible" and "forward" where the solver offers them; the error falls with the
    stated `order`, and inside the steps of a `StepwiseSolver` with order 3, or that of the method where it is lower;
    settings can be compared, hashed and pickled.

    Parameters
    ----------
    solver : Solver
    field : Dynamics, optional
        A smooth vector field of the kind that the solver needs, where the forms of tsode's own solvers do not serve.

    Raises
    ------
    AssertionError
        That names the promise which does not hold.
    """
    assert isinstance(getattr(solver, "order", None), int), "a solver states its order of convergence, an int."
    _check_settings(solver)
    example = ExampleField if isinstance(ExampleField(True), solver.field_type) else ExampleOscillator
    driven: Any = example(False) if field is None else field
    autonomous: Any = example(True) if field is None else field
    is_served = isinstance(driven, solver.field_type)
    assert is_served, f"field= is a {solver.field_type.__name__}, which the solver needs."
    for dtype in (torch.float32, torch.float64):
        _check_ends(_ODEProblem(copy.deepcopy(driven).to(dtype), solver), _states(driven.n_state, dtype))
    driven, autonomous = copy.deepcopy(driven).double(), copy.deepcopy(autonomous).double()
    problem, z = _ODEProblem(driven, solver), _states(driven.n_state)
    close = COARSE if solver.shares_steps else CLOSE
    _check_independence(problem, z, close)
    _check_failures(problem, z, close)
    if field is None:
        _check_blow_up(problem, z)
    if autonomous.is_autonomous:
        _check_shift(_ODEProblem(autonomous, solver), z, max(close, 1e-9))
    _check_gradients(problem, z, driven, (T0, problem.spans, problem.offsets))
    _check_order(solver, driven, z)
    _check_way(problem, z, close)
    for name in solver.gradients:
        if name in SAME_AS_BACKPROP:
            _check_gradient_way(replace(problem, gradient=name), z, driven)


def check_sde_solver(solver: SDESolver) -> None:
    """Check shapes, dtypes, rows, queries, failures, gradients and the strong order of a solver.

    The contract is that of `check_solver`, forward in time and along given Brownian paths: all randomness is that of
    the path; coordinates past its last column have no noise; a path that does not reach far enough is a status. The
    mean distance from the solution along the same path falls with the stated `strong_order`, which is measured of
    solvers with `n_steps`.

    Parameters
    ----------
    solver : SDESolver

    Raises
    ------
    AssertionError
        That names the promise which does not hold.
    """
    assert isinstance(getattr(solver, "strong_order", None), float), "a solver states its strong order, a float."
    _check_settings(solver)
    calculus = solver.calculi[0]
    for dtype in (torch.float32, torch.float64):
        _check_ends(_SDEProblem(ExampleSDE(calculus).to(dtype), solver), _states(2, dtype))
    problem, z = _SDEProblem(ExampleSDE(calculus).double(), solver), _states(2)
    _check_independence(problem, z, CLOSE)
    _check_failures(problem, z, CLOSE)
    _check_blow_up(problem, z)
    _check_shift(problem, z, 1e-9)
    _check_gradients(problem, z, problem.sde, ())
    _check_noise(problem, z)
    if hasattr(solver, "n_steps"):
        growth = Growth(calculus)
        errors = strong_errors(solver, growth, growth.exact, torch.ones(1, 1, dtype=torch.float64), n_paths=1000)
        slope, uncertainty = strong_order(errors)
        # six standard errors, and .03 for the terms of higher order in steps of up to 1/16
        assert abs(slope - solver.strong_order) <= 6.0 * uncertainty + 0.03, (
            f"the strong order is {solver.strong_order}: errors fall with {slope:.2f}."
        )


def _check_settings(solver: Any) -> None:
    copied = pickle.loads(pickle.dumps(solver))
    assert copied == solver, "a pickle carries all settings, and solvers are compared by them."
    assert hash(copied) == hash(solver), "solvers of the same settings have the same hash."


def _states(n_state: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """States within the unit circle of the example field, which do not blow up backward in time."""
    generator = torch.Generator().manual_seed(1)
    return (1.2 * torch.rand(5, n_state, dtype=torch.float64, generator=generator) - 0.6).to(dtype)


@torch.no_grad()
def _check_ends(problem: Problem, z: Tensor) -> None:
    times, n = T0[:, None] + problem.offsets, z.shape[1]
    ends, answers = problem.solve(z, ALL, T0, T0 + problem.spans), problem.solve_to(z, ALL, T0, times)
    for solution, shape in ((ends, (5, n)), (answers, (5, 4, n))):
        assert solution.z.shape == shape, f"states have the shape {shape}, not {tuple(solution.z.shape)}."
        assert solution.z.dtype == z.dtype, f"states keep their dtype: {z.dtype} in, {solution.z.dtype} out."
        for name in ("status", "n_steps"):
            entry = getattr(solution, name)
            assert entry.shape == (5,), f"{name} has one entry a row."
            assert entry.dtype == torch.int64, f"{name} is of int64, not {entry.dtype}."
        assert not bool(solution.status.any()), f"rows reach their ends: status {solution.status.tolist()}."

    none = ALL[:0]
    promise = "no rows and no times are answered with nothing."
    assert problem.solve(z[:0], none, T0[:0], T0[:0]).z.shape == (0, n), promise
    assert problem.solve_to(z[:0], none, T0[:0], times[:0]).z.shape == (0, 4, n), promise
    assert problem.solve_to(z, ALL, T0, times[:, :0]).z.shape == (5, 0, n), promise

    z = z.clone()
    z[0, 0] = -0.0
    some = torch.tensor([0, 2, 3, 4])
    with_one = T0 + torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0])
    for states, rows in (
        (problem.solve(z, ALL, T0, T0).z, ALL),
        (problem.solve(z, ALL, T0, with_one).z[some], some),
        (problem.solve_to(z, ALL, T0, T0[:, None].expand(-1, 2)).z[:, 1], ALL),
        (problem.solve_to(z, ALL, T0, torch.stack([T0, T0 + 1.0], dim=1)).z[:, 0], ALL),
    ):
        is_same = torch.equal(states, z[rows]) and torch.equal(states.signbit(), z[rows].signbit())
        assert is_same, "a length of zero returns the state bit for bit."


@torch.no_grad()
def _check_independence(problem: Problem, z: Tensor, close: float) -> None:
    t1, times = T0 + problem.spans, T0[:, None] + problem.offsets
    ends, answers = problem.solve(z, ALL, T0, t1).z, problem.solve_to(z, ALL, T0, times).z
    for rows in (MIXED, *ALL[:, None]):
        promise = "rows do not see each other"
        assert_close(problem.solve(z[rows], rows, T0[rows], t1[rows]).z, ends[rows], promise, close)
        assert_close(problem.solve_to(z[rows], rows, T0[rows], times[rows]).z, answers[rows], promise, close)
    # times that are further away on either side, where the solver runs on both
    more = torch.cat([times, T0[:, None] + 4.0 * problem.offsets[:2]], dim=1)
    promise = "asking for more times changes no other answer"
    assert_close(problem.solve_to(z, ALL, T0, more).z[:, :4], answers, promise, close)
    for k in range(4):
        alone = problem.solve_to(z, ALL, T0, times[:, k : k + 1]).z
        assert_close(alone, answers[:, k : k + 1], promise, close)


@torch.no_grad()
def _check_shift(problem: Problem, z: Tensor, close: float) -> None:
    later = T0 + 1024.0
    shifted, plain = (problem.solve(z, ALL, t0, t0 + problem.spans).z for t0 in (later, T0))
    assert_close(shifted, plain, "the origin of time changes nothing", close)


@torch.no_grad()
def _check_way(problem: _ODEProblem, z: Tensor, close: float) -> None:
    length = problem.spans.abs()
    t1 = torch.where(ALL == 1, torch.inf, T0 + length)
    times = T0[:, None] + length[:, None] * torch.tensor([0.61, 0.23], dtype=torch.float64)
    end, way = integrate_through(problem.field, z, T0, t1, times, problem.solver, problem.gradient)
    alone = problem.solve(z, ALL, T0, t1.where(t1.isfinite(), T0)).z
    assert_close(
        end, alone, "values on the way to an end do not change it, and a row without one is where it was", close
    )
    apart = problem.solve_to(z, ALL, T0, times).z
    assert_close(way.z[1], apart[1], "without an end values are those of `solve_to`", close)
    assert_close(way.z, apart, "values on the way to an end are those of the solution", COARSE)
    assert not bool(way.status.any()), f"rows reach their ends: status {way.status.tolist()}."


@torch.no_grad()
def _check_failures(problem: Problem, z: Tensor, close: float) -> None:
    bad, t1, times = z.clone(), T0 + problem.spans, T0[:, None] + problem.offsets
    good = problem.solve(z, ALL, T0, t1).z
    bad[0, 1], t1[1], t1[4], times[1, 0], times[4, 0] = torch.nan, torch.nan, torch.inf, torch.nan, torch.inf
    expected = [Status.NON_FINITE, Status.NON_FINITE, Status.OK, Status.OK, Status.NON_FINITE]
    failed, others = [0, 1, 4], [2, 3]
    end, answers = problem.solve(bad, ALL, T0, t1), problem.solve_to(bad, ALL, T0, times)
    for solution, states in ((end, end.z), (answers, answers.z[:, 2])):
        promise = "a row whose state or times are not finite comes back as it is and says so in its status"
        assert solution.status.tolist() == expected, f"{promise}: status {solution.status.tolist()}."
        assert torch.equal(states[failed].nan_to_num(nan=1.5), bad[failed].nan_to_num(nan=1.5)), f"{promise}."
    assert_close(end.z[others], good[others], "a row that is not finite leaves the others alone", close)


@torch.no_grad()
def _check_blow_up(problem: Problem, z: Tensor) -> None:
    t1, wild = T0 + problem.spans.abs(), z.clone()
    wild[0] = HUGE
    for solve in (
        lambda states: problem.solve(states, ALL, T0, t1),
        lambda states: problem.solve_to(states, ALL, T0, t1[:, None]),
    ):
        good, solution = solve(z).z, solve(wild)
        assert solution.status[0] != Status.OK, "a row that blows up says so in its status."
        assert bool(solution.z.isfinite().all()), "a row that blows up keeps its last finite state."
        if not getattr(problem.solver, "shares_steps", False):
            promise = "a row that blows up leaves the others alone"
            assert not bool(solution.status[1:].any()), f"{promise}: status {solution.status.tolist()}."
            assert_close(solution.z[1:], good[1:], promise, CLOSE)


def _check_gradients(problem: Problem, z: Tensor, module: nn.Module, clocks: tuple[Tensor, ...]) -> None:
    """Gradients by states and weights and, where `clocks` holds starts, spans and offsets, by the times too."""
    two = ALL[:2]
    states, weights = z[:2].clone().requires_grad_(), list(module.parameters())
    moving = [clock.clone().requires_grad_() for clock in (T0[:2], problem.spans[:2], problem.offsets[:2]) if clocks]

    def run(state: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        t0, spans, offsets = moving or (T0[:2], problem.spans[:2], problem.offsets[:2])
        answers = problem.solve_to(state, two, t0, t0[:, None] + offsets)
        return problem.solve(state, two, t0, t0 + spans).z, answers.z

    # Adaptive steps move with the inputs, so that differences see the error of the method: hence the tolerance.
    settings = {"eps": 1e-4, "atol": 1e-5, "rtol": 1e-4} if clocks else {}
    if getattr(problem.solver, "shares_steps", False):
        settings |= {"atol": COARSE, "rtol": COARSE}
    assert_gradient(run, (states, *moving, *weights), "gradients through a solve are right", **settings)
    t1, times = T0 + problem.spans, T0[:, None] + problem.offsets
    with torch.no_grad():
        plain = problem.solve(z, ALL, T0, t1).z, problem.solve_to(z, ALL, T0, times).z
    recorded = problem.solve(z, ALL, T0, t1).z, problem.solve_to(z, ALL, T0, times).z
    are_same = all(torch.equal(left, right) for left, right in zip(plain, recorded))
    assert are_same, "states are the same with and without gradients."


def _check_gradient_way(problem: _ODEProblem, z: Tensor, module: nn.Module) -> None:
    z, plain = z.clone().requires_grad_(), replace(problem, gradient="backprop")
    inputs = [z, *module.parameters()]
    t1, times = T0 + problem.spans, T0[:, None] + problem.offsets
    way = f"gradient={problem.gradient!r}"
    for left, right in (
        (plain.solve(z, ALL, T0, t1).z, problem.solve(z, ALL, T0, t1).z),
        (plain.solve_to(z, ALL, T0, times).z, problem.solve_to(z, ALL, T0, times).z),
    ):
        assert_close(right, left, f"a solve with {way} is the same solve", 1e-13)
        gradients = [torch.autograd.grad(end.square().sum(), inputs) for end in (left, right)]
        for a, b in zip(*gradients):
            assert_close(b, a, f"the gradient by {way} is that by backprop", 1e-10)


def _check_noise(problem: _SDEProblem, z: Tensor) -> None:
    t1 = T0 + problem.spans
    wide = problem.paths(ALL, T0)
    narrow, muted = (
        replace(wide, **{name: change(getattr(wide, name)) for name in ("knots", "bridges")})
        for change in (lambda x: x[..., :1], lambda x: x * torch.tensor([1.0, 0.0]))
    )
    left, right = (integrate_sde(problem.sde, z, T0, t1, problem.solver, path).z for path in (narrow, muted))
    assert_close(left, right, "coordinates past the last column of a path have no noise", CLOSE)
    far = problem.solve(z, ALL, T0, T0 + torch.tensor([7.0, 0.1, 0.1, 0.1, 0.1])).status.tolist()
    expected = [Status.NON_FINITE, *[Status.OK] * 4]
    assert far == expected, f"a path that does not reach far enough is a status, not {far}."


def _check_order(solver: Solver, field: VectorField, z: Tensor) -> None:
    t1 = T0 + torch.tensor([1.5, 1.5, 1.0, -0.5, 0.5], dtype=torch.float64)
    tight = Dopri5(rtol=1e-13, atol=1e-14, max_steps=10_000)

    def exact(times: Tensor) -> Tensor:
        if isinstance(field, ExampleField | ExampleOscillator):
            return field.exact(z, T0, times)
        return integrate(field, z, T0, times, tight).z

    with torch.no_grad():
        orders = convergence_order(solver, field, z, T0, t1, exact)
        if orders is not None:
            end, inside = orders
            # terms of higher order make errors fall faster at first
            is_kept = -0.15 <= end - solver.order < 0.85
            assert is_kept, f"the order is {solver.order}: errors fall with {end:.2f}."
            if isinstance(solver, StepwiseSolver):
                lowest = min(0.9 * solver.order, 3.0)
                assert inside >= lowest, f"the order inside the steps is {lowest:g}: errors fall with {inside:.2f}."
        if solver.shares_steps or not hasattr(solver, "n_steps"):
            promise = "a solver that chooses its steps itself is accurate, forward and backward"
            assert_close(integrate(field, z, T0, t1, solver).z, exact(t1), promise, COARSE)

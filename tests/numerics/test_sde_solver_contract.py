"""What every solver of stochastic equations promises, checked on all of them."""

import pickle

import pytest
import torch

from tests.numerics.sde_systems import SDE_SYSTEMS, StratonovichGrowth
from tsode.core.status import Status
from tsode.dynamics import NeuralSDE
from tsode.errors import ParameterError, ShapeError, UnknownNameError
from tsode.numerics import SDE_SOLVERS, EulerMaruyama, Milstein, TorchSDE
from tsode.numerics.brownian import BrownianPath
from tsode.numerics.sde import Ito, integrate_sde, integrate_sde_to

EXAMPLES = {
    "euler_maruyama": SDE_SOLVERS["euler_maruyama"](max_step=1 / 32),
    "milstein": SDE_SOLVERS["milstein"](n_steps=4),
    "torchsde": SDE_SOLVERS["torchsde"]("milstein", n_steps=4),
}
every_solver = pytest.mark.parametrize("solver", EXAMPLES.values(), ids=EXAMPLES)
both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])

T0 = torch.tensor([0.0, 2.0, -1.0, 5.0, 0.3], dtype=torch.float64)
T1 = torch.tensor([0.7, 2.9, -1.0, 5.5, 0.31], dtype=torch.float64)  # the third is empty
TIMES = T0[:, None] + torch.tensor([0.4, 0.1, 0.0, 0.93], dtype=torch.float64)
ROWS = torch.tensor([3, 0, 4, 2, 1])


@pytest.fixture
def sde():
    torch.manual_seed(0)
    return NeuralSDE(3, width=8).double()


@pytest.fixture
def z():
    return torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def paths(rows=None):
    """Five paths from `T0`, or those of some rows."""
    drawn = BrownianPath.draw(torch.Generator().manual_seed(2), 5, 3, 6.0)
    rows = torch.arange(5) if rows is None else rows
    return drawn.starting_at(T0[rows], rows)


def test_every_solver_has_an_example():
    assert EXAMPLES.keys() == SDE_SOLVERS.keys()


@every_solver
@both_dtypes
def test_shape_and_dtype_are_those_of_the_state(solver, dtype, sde, z):
    sde, z = sde.to(dtype), z.to(dtype)
    to_end = integrate_sde(sde, z, T0, T1, solver, paths())
    to_times = integrate_sde_to(sde, z, T0, TIMES, solver, paths())
    assert (to_end.z.shape, to_end.z.dtype) == ((5, 3), dtype)
    assert (to_times.z.shape, to_times.z.dtype) == ((5, 4, 3), dtype)
    for solution in (to_end, to_times):
        assert solution.status.tolist() == [Status.OK] * 5
        assert solution.status.dtype == solution.n_steps.dtype == torch.int64
        assert solution.n_steps.shape == (5,)


@every_solver
def test_no_rows_and_no_times_are_answered_with_nothing(solver, sde, z):
    none = torch.arange(0)
    assert integrate_sde(sde, z[:0], T0[:0], T1[:0], solver, paths(none)).z.shape == (0, 3)
    assert integrate_sde_to(sde, z[:0], T0[:0], TIMES[:0], solver, paths(none)).z.shape == (0, 4, 3)
    assert integrate_sde_to(sde, z, T0, TIMES[:, :0], solver, paths()).z.shape == (5, 0, 3)


@every_solver
@both_dtypes
def test_zero_length_returns_the_state_bit_for_bit(solver, dtype, sde, z):
    z = z.to(dtype)
    z[0, 0] = -0.0
    sde = sde.to(dtype)
    some = torch.tensor([0, 2, 3, 4])
    for states, rows in (
        (integrate_sde(sde, z, T0, T0, solver, paths()).z, slice(None)),
        (integrate_sde(sde, z, T0, T0 + torch.tensor([0, 1, 0, 0, 0]), solver, paths()).z[some], some),
        (integrate_sde_to(sde, z, T0, T0[:, None].expand(-1, 2), solver, paths()).z[:, 1], slice(None)),
        (integrate_sde_to(sde, z, T0, torch.stack([T0, T0 + 1], dim=1), solver, paths()).z[:, 0], slice(None)),
    ):
        assert torch.equal(states, z[rows])
        assert torch.equal(states.signbit(), z[rows].signbit())


@every_solver
def test_rows_do_not_see_each_other(solver, sde, z):
    together = integrate_sde(sde, z, T0, T1, solver, paths()).z
    queries = integrate_sde_to(sde, z, T0, TIMES, solver, paths()).z
    for rows in (ROWS, *torch.arange(5)[:, None]):
        one = integrate_sde(sde, z[rows], T0[rows], T1[rows], solver, paths(rows)).z
        several = integrate_sde_to(sde, z[rows], T0[rows], TIMES[rows], solver, paths(rows)).z
        torch.testing.assert_close(one, together[rows], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(several, queries[rows], rtol=1e-12, atol=1e-12)


@every_solver
def test_an_answer_does_not_depend_on_the_other_questions(solver, sde, z):
    together = integrate_sde_to(sde, z, T0, TIMES, solver, paths()).z
    with_more = torch.cat([TIMES, T0[:, None] + torch.tensor([[3.7, 0.01]])], dim=1)
    more = integrate_sde_to(sde, z, T0, with_more, solver, paths()).z
    torch.testing.assert_close(more[:, :4], together, rtol=1e-12, atol=1e-12)
    for query in range(4):
        one = slice(query, query + 1)
        alone = integrate_sde_to(sde, z, T0, TIMES[:, one], solver, paths()).z
        torch.testing.assert_close(alone, together[:, one], rtol=1e-12, atol=1e-12)


@every_solver
def test_shifting_all_times_changes_nothing_for_an_autonomous_equation(solver, sde, z):
    shifted = paths().starting_at(T0 + 1024.0)
    torch.testing.assert_close(
        integrate_sde(sde, z, T0 + 1024.0, T1 + 1024.0, solver, shifted).z,
        integrate_sde(sde, z, T0, T1, solver, paths()).z, rtol=1e-9, atol=1e-9,
    )  # fmt: skip


@every_solver
def test_rows_that_are_not_finite_come_back_as_they_are_and_say_so(solver, sde, z):
    bad, end, times = z.clone(), T1.clone(), TIMES.clone()
    bad[0, 1], end[1], end[4], times[1, 0], times[4, 0] = torch.nan, torch.nan, torch.inf, torch.nan, torch.inf
    expected = [Status.NON_FINITE, Status.NON_FINITE, Status.OK, Status.OK, Status.NON_FINITE]
    solution = integrate_sde(sde, bad, T0, end, solver, paths())
    answers = integrate_sde_to(sde, bad, T0, times, solver, paths())
    assert solution.status.tolist() == answers.status.tolist() == expected
    torch.testing.assert_close(solution.z[[0, 1, 4]], bad[[0, 1, 4]], rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(answers.z[[0, 1, 4], 2], bad[[0, 1, 4]], rtol=0, atol=0, equal_nan=True)
    good = integrate_sde(sde, z, T0, T1, solver, paths())
    torch.testing.assert_close(solution.z[[2, 3]], good.z[[2, 3]], rtol=1e-12, atol=1e-12)


@every_solver
def test_a_row_that_blows_up_keeps_its_last_finite_state_and_says_so(solver, z):
    class Explosive(Ito):
        def drift(self, t, z):
            return 1e3 * z.abs() ** 8

        def diffusion(self, t, z):
            return torch.ones_like(z)

    z = torch.cat([torch.full((1, 3), 1e30, dtype=torch.float64), torch.zeros(4, 3, dtype=torch.float64)])
    span = torch.tensor([0.1, 1e-3, 1e-3, 1e-3, 1e-3])
    expected = [Status.NON_FINITE] + 4 * [Status.OK]
    solution = integrate_sde(Explosive(3), z, T0, T0 + span, solver, paths())
    answers = integrate_sde_to(Explosive(3), z, T0, (T0 + span)[:, None], solver, paths(), query_step=1e-2)
    for found in (solution, answers):
        assert found.status.tolist() == expected
        assert found.z.isfinite().all()


@every_solver
def test_a_path_asked_beyond_its_reach_is_a_status_not_an_exception(solver, sde, z):
    solution = integrate_sde(sde, z, T0, T0 + torch.tensor([7.0, 0.1, 0.1, 0.1, 0.1]), solver, paths())
    assert solution.status.tolist() == [Status.NON_FINITE] + 4 * [Status.OK]


@every_solver
def test_gradients_of_state_and_weights_are_right(solver, sde, z):
    weights = list(sde.parameters())

    def states(z, *_):
        rows = torch.arange(2)
        return (
            integrate_sde(sde, z, T0[rows], T1[rows], solver, paths(rows)).z,
            integrate_sde_to(sde, z, T0[rows], TIMES[rows, :2], solver, paths(rows)).z,
        )

    inputs = (z[:2].clone().requires_grad_(), *weights)
    assert torch.autograd.gradcheck(states, inputs, fast_mode=True)


@every_solver
def test_answers_are_the_same_with_and_without_gradients(solver, sde, z):
    with torch.no_grad():
        plain = integrate_sde(sde, z, T0, T1, solver, paths()).z
    assert torch.equal(plain, integrate_sde(sde, z, T0, T1, solver, paths()).z)


@every_solver
def test_coordinates_past_the_last_column_of_noise_have_none(solver, z):
    sde = SDE_SYSTEMS["stratonovich"].sde
    narrow = BrownianPath.draw(torch.Generator().manual_seed(2), 5, 1, 6.0).starting_at(T0)
    end = integrate_sde(sde, z, T0, T1, EulerMaruyama(n_steps=1), narrow).z[:, 1:]
    dt = (T1 - T0)[:, None]
    # One step of Euler-Maruyama without noise, with the correction of Stratonovich in its drift.
    torch.testing.assert_close(end, (z * (1 + (sde.growth + 0.5 * sde.sigma**2) * dt))[:, 1:])


@every_solver
def test_solver_survives_pickling_and_compares_by_its_settings(solver):
    assert pickle.loads(pickle.dumps(solver)) == solver
    assert hash(solver) == hash(pickle.loads(pickle.dumps(solver)))


@pytest.mark.parametrize("solver", [EulerMaruyama(), Milstein(n_steps=3)])
def test_rows_that_need_too_many_steps_say_so(solver, sde, z):
    few = type(solver)(max_step=0.01, max_steps=5)
    assert integrate_sde(sde, z, T0, T1, few, paths()).status.tolist() == [Status.MAX_STEPS] * 2 + [0, 1, 0]


def test_mistakes_at_the_door_are_named(sde, z):
    with pytest.raises(ShapeError, match="`t1` has 2 on axis 'b'"):
        integrate_sde(sde, z, T0, T1[:2], Milstein(), paths())
    with pytest.raises(ParameterError, match="does not solve stratonovich equations such as StratonovichGrowth"):
        integrate_sde(StratonovichGrowth(3), z, T0, T1, TorchSDE("euler"), paths())
    with pytest.raises(ParameterError, match="query_step must be a positive length"):
        integrate_sde_to(sde, z, T0, TIMES, Milstein(), paths(), query_step=0.0)
    with pytest.raises(UnknownNameError, match="'srk' is not a known method of torchsde"):
        TorchSDE("srk")
    with pytest.raises(ParameterError, match="n_steps must be at least 1"):
        TorchSDE(n_steps=0)

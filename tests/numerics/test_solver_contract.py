"""What every solver promises, checked on all of them."""

import pickle

import pytest
import torch

from tests.numerics.systems import SYSTEMS
from tsode.core.status import Status
from tsode.dynamics import GRUODE
from tsode.errors import ParameterError, ShapeError
from tsode.numerics import RK4, SOLVERS, Dopri5, Euler, ExponentialDifference, ExponentialEuler, Midpoint
from tsode.numerics.integrate import integrate, integrate_to

EXAMPLES = {
    "dopri5": SOLVERS["dopri5"](),
    "euler": SOLVERS["euler"](max_step=0.01),
    "exponential_difference": SOLVERS["exponential_difference"](max_step=0.01),
    "exponential_euler": SOLVERS["exponential_euler"](max_step=0.01),
    "midpoint": SOLVERS["midpoint"](n_steps=4),
    "rk4": SOLVERS["rk4"](max_step=0.1),
    "torchdiffeq": SOLVERS["torchdiffeq"]("rk4", n_steps=4),  # the adaptive methods share their steps
}
every_solver = pytest.mark.parametrize("solver", EXAMPLES.values(), ids=EXAMPLES)
both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])

T0 = torch.tensor([0.0, 2.0, -1.0, 5.0, 0.3], dtype=torch.float64)
T1 = torch.tensor([0.7, 2.9, -1.0, 4.5, 0.31], dtype=torch.float64)  # the third is empty, the fourth runs backward
TIMES = T0[:, None] + torch.tensor([0.4, -0.3, 0.0, 0.93], dtype=torch.float64)


class AnySolversField(GRUODE):
    """A field that every solver can take: besides its relaxation it has a linear part, a decay at rate 1."""

    def linearised(self, t, z):
        return torch.ones_like(z), torch.zeros_like(z), self.drift(t, z)

    def turn(self, z):
        return torch.zeros_like(z)


@pytest.fixture
def field():
    torch.manual_seed(0)
    return AnySolversField(3).double()


@pytest.fixture
def z():
    return torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_every_solver_has_an_example():
    assert EXAMPLES.keys() == SOLVERS.keys()


@every_solver
@both_dtypes
def test_shape_and_dtype_are_those_of_the_state(solver, dtype, field, z):
    field, z = field.to(dtype), z.to(dtype)
    to_end, to_times = integrate(field, z, T0, T1, solver), integrate_to(field, z, T0, TIMES, solver)
    assert (to_end.z.shape, to_end.z.dtype) == ((5, 3), dtype)
    assert (to_times.z.shape, to_times.z.dtype) == ((5, 4, 3), dtype)
    for solution in (to_end, to_times):
        assert solution.status.tolist() == [Status.OK] * 5
        assert solution.status.dtype == solution.n_steps.dtype == torch.int64
        assert solution.n_steps.shape == (5,)


@every_solver
def test_no_rows_and_no_times_are_answered_with_nothing(solver, field, z):
    assert integrate(field, z[:0], T0[:0], T1[:0], solver).z.shape == (0, 3)
    assert integrate_to(field, z[:0], T0[:0], TIMES[:0], solver).z.shape == (0, 4, 3)
    assert integrate_to(field, z, T0, TIMES[:, :0], solver).z.shape == (5, 0, 3)


@every_solver
@both_dtypes
def test_zero_length_returns_the_state_bit_for_bit(solver, dtype, field, z):
    z = z.to(dtype)
    z[0, 0] = -0.0
    here = T0[:, None].expand(-1, 2)
    for states in (
        integrate(field.to(dtype), z, T0, T0, solver).z,
        integrate(field.to(dtype), z, T0, T0 + torch.tensor([0, 1, 0, 0, 0]), solver).z[[0, 2, 3, 4]],
        integrate_to(field.to(dtype), z, T0, here, solver).z[:, 1],
        integrate_to(field.to(dtype), z, T0, torch.stack([T0, T0 + 1], dim=1), solver).z[:, 0],
    ):
        expected = z if len(states) == 5 else z[[0, 2, 3, 4]]
        assert torch.equal(states, expected)
        assert torch.equal(states.signbit(), expected.signbit())


@every_solver
def test_rows_do_not_see_each_other(solver, field, z):
    order = torch.tensor([3, 0, 4, 2, 1])
    together, permuted = integrate(field, z, T0, T1, solver).z, integrate(
        field, z[order], T0[order], T1[order], solver).z  # fmt: skip
    torch.testing.assert_close(permuted, together[order], rtol=1e-12, atol=1e-12)
    queries = integrate_to(field, z, T0, TIMES, solver).z
    for row in range(5):
        one = slice(row, row + 1)
        torch.testing.assert_close(
            integrate(field, z[one], T0[one], T1[one], solver).z, together[one], rtol=1e-12, atol=1e-12
        )
        torch.testing.assert_close(
            integrate_to(field, z[one], T0[one], TIMES[one], solver).z, queries[one], rtol=1e-12, atol=1e-12
        )


@every_solver
def test_an_answer_does_not_depend_on_the_other_questions(solver, field, z):
    together = integrate_to(field, z, T0, TIMES, solver).z
    with_more = torch.cat([TIMES, T0[:, None] + torch.tensor([[-2.0, 3.7]])], dim=1)
    torch.testing.assert_close(integrate_to(field, z, T0, with_more, solver).z[:, :4], together, rtol=1e-12, atol=1e-12)
    for query in range(4):
        one = slice(query, query + 1)
        torch.testing.assert_close(
            integrate_to(field, z, T0, TIMES[:, one], solver).z, together[:, one], rtol=1e-12, atol=1e-12
        )


@every_solver
def test_forward_then_backward_returns_to_the_start(solver, field, z):
    there = integrate(field, z, T0, T0 + 0.5, solver)
    back = integrate(field, there.z, T0 + 0.5, T0, solver)
    # First-order methods with steps of 0.01 come back to within about 0.01 * 0.5 * |z''|.
    torch.testing.assert_close(back.z, z, rtol=0, atol=1e-2)


@every_solver
def test_shifting_all_times_changes_nothing_for_an_autonomous_field(solver, field, z):
    shift = 1000.0
    torch.testing.assert_close(
        integrate(field, z, T0 + shift, T1 + shift, solver).z, integrate(field, z, T0, T1, solver).z,
        rtol=1e-9, atol=1e-9,
    )  # fmt: skip


@every_solver
def test_rows_that_are_not_finite_come_back_as_they_are_and_say_so(solver, field, z):
    bad, end, times = z.clone(), T1.clone(), TIMES.clone()
    bad[0, 1], end[1], end[4], times[1, 0], times[4, 0] = torch.nan, torch.nan, torch.inf, torch.nan, torch.inf
    expected = [Status.NON_FINITE, Status.NON_FINITE, Status.OK, Status.OK, Status.NON_FINITE]
    solution, answers = integrate(field, bad, T0, end, solver), integrate_to(field, bad, T0, times, solver)
    assert solution.status.tolist() == answers.status.tolist() == expected
    torch.testing.assert_close(solution.z[[0, 1, 4]], bad[[0, 1, 4]], rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(answers.z[[0, 1, 4], 2], bad[[0, 1, 4]], rtol=0, atol=0, equal_nan=True)
    good = integrate(field, z, T0, T1, solver)
    torch.testing.assert_close(solution.z[[2, 3]], good.z[[2, 3]], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "solver",
    [Dopri5(), Euler(n_steps=2), ExponentialDifference(n_steps=2), ExponentialEuler(n_steps=2), RK4(max_step=0.5)],
)
def test_gradients_of_state_times_and_weights_are_right(solver, z):
    torch.manual_seed(0)
    field = AnySolversField(2).double()
    weights = list(field.parameters())
    inputs = [x.clone().requires_grad_() for x in (z[:2, :2], T0[:2], T1[:2], TIMES[:2, :2])]

    def states(z, t0, t1, times, *_):
        return integrate(field, z, t0, t1, solver).z, integrate_to(field, z, t0, times, solver).z

    # Adaptive steps move with the inputs, so that differences see the error of the method: hence the tolerance.
    assert torch.autograd.gradcheck(states, (*inputs, *weights), eps=1e-4, atol=1e-5, rtol=1e-4, fast_mode=True)


@every_solver
def test_gradient_with_checkpoints_is_the_gradient(solver, field, z):
    z = z.requires_grad_()
    inputs = [z, *field.parameters()]
    for call in (
        lambda gradient: integrate(field, z, T0, T1, solver, gradient).z,
        lambda gradient: integrate_to(field, z, T0, TIMES, solver, gradient).z,
    ):
        plain, stored = call("backprop"), call("checkpoint")
        torch.testing.assert_close(stored, plain, rtol=1e-13, atol=1e-13)
        for a, b in zip(
            torch.autograd.grad(plain.square().sum(), inputs), torch.autograd.grad(stored.square().sum(), inputs)
        ):
            torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-10)


@every_solver
def test_solver_survives_pickling_and_compares_by_its_settings(solver):
    assert pickle.loads(pickle.dumps(solver)) == solver
    assert hash(solver) == hash(pickle.loads(pickle.dumps(solver)))


def test_checkpoints_store_less():
    def stored_bytes(gradient):
        total = 0

        def count(tensor):
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        field, z = GRUODE(16), torch.zeros(32, 16)
        start = torch.zeros(32, dtype=torch.float64)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            integrate(field, z, start, start + 1, SOLVERS["rk4"](n_steps=10), gradient)
        return total

    assert stored_bytes("checkpoint") < 0.2 * stored_bytes("backprop")


def test_mistakes_at_the_door_are_named():
    system = SYSTEMS["logistic"]
    start = torch.zeros(1, dtype=torch.float64)
    with pytest.raises(ShapeError, match="`t1` has 2 on axis 'b'"):
        integrate(system.field, system.z0, start, torch.zeros(2, dtype=torch.float64), Midpoint())
    with pytest.raises(ParameterError, match="'adjoint' is not offered by Midpoint: use one of backprop, checkpoint"):
        integrate(system.field, system.z0, start, start, Midpoint(), gradient="adjoint")
    with pytest.raises(ParameterError, match="query_step must be a positive length"):
        integrate_to(system.field, system.z0, start, start[None], Midpoint(), query_step=0.0)

"""Rosenbrock methods: their tables, Jacobians that are given, and linear systems that cannot be solved."""

import pytest
import torch

from tsode.core.status import Status
from tsode.errors import ParameterError, ShapeError
from tsode.numerics import SOLVERS, Rodas4, Ros34PW2, Switching
from tsode.numerics.integrate import integrate
from tsode.numerics.rosenbrock import Rosenbrock
from tsode.solve import solve
from tsode.testing.convergence import convergence_order


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


START = numbers(0.0)
METHODS = [made for made in SOLVERS.values() if issubclass(made, Rosenbrock)]


def field(t, z):
    x, y = z.unbind(dim=1)
    return torch.stack([-1e4 * (x - y * y), torch.sin(t) - y], dim=1)


def jacobian(t, z):
    y = z[:, 1]
    zero, one = torch.zeros_like(y), torch.ones_like(y)
    return torch.stack([-1e4 * one, 2e4 * y, zero, -one], dim=1).unflatten(1, (2, 2))


def slope_by_time(t, z):
    return torch.stack([torch.zeros_like(t), torch.cos(t)], dim=1)


@pytest.mark.parametrize("made", METHODS)
def test_tables_agree_with_themselves(made):
    table = made.table
    n = len(table.nodes)
    a, c = (numbers(*([*row, *[0.0] * (n - len(row))] for row in rows)) for rows in (table.a, table.c))
    gammas = torch.linalg.inv(torch.eye(n).double() / table.gamma - c)  # from the stages of RODAS back to slopes
    weights = numbers(*table.end) @ gammas
    torch.testing.assert_close((a @ gammas).sum(dim=1), numbers(*table.nodes), rtol=0, atol=1e-12)
    torch.testing.assert_close(gammas.sum(dim=1), numbers(*table.by_time), rtol=0, atol=1e-12)
    assert weights.sum().item() == pytest.approx(1.0, abs=1e-12)
    # the step of z' = lambda z tends to 0 with lambda
    at_infinity = 1 - weights @ torch.linalg.inv(a @ gammas + gammas) @ torch.ones(n).double()
    assert abs(at_infinity.item()) < 1e-11


@pytest.mark.slow
@pytest.mark.parametrize("made", [*METHODS, Switching])
@pytest.mark.parametrize("with_time", [False, True])
def test_a_jacobian_that_is_given_is_asked_in_place_of_the_field(made, with_time):
    n_asked = 0

    def counted(t, z):
        nonlocal n_asked
        n_asked += 1
        return (jacobian(t, z), slope_by_time(t, z)) if with_time else jacobian(t, z)

    z, settings = numbers([3.0, 1.0], [0.0, -1.0]), {"rtol": 1e-7, "atol": 1e-9}
    t0 = numbers(0.0, 1.0)
    found = integrate(field, z, t0, t0 + 2.0, made(jacobian=counted, **settings))
    own = integrate(field, z, t0, t0 + 2.0, made(**settings))
    assert n_asked > 20
    torch.testing.assert_close(found.z, own.z, rtol=1e-9, atol=1e-12)
    assert torch.equal(found.n_steps, own.n_steps)


@pytest.mark.slow
def test_a_field_that_leaves_pytorch_is_solved_by_its_jacobian():
    outside = lambda t, z: torch.from_numpy(field(t, z).numpy())  # noqa: E731
    given = lambda t, z: (jacobian(t, z), slope_by_time(t, z))  # noqa: E731
    frame = solve(outside, [3.0, 1.0], [2.0], t0=0.0, solver=Rodas4(jacobian=given, rtol=1e-9))
    right = solve(field, [3.0, 1.0], [2.0], t0=0.0, solver="rodas4")
    assert frame["state_0"].item() == pytest.approx(right["state_0"].item(), rel=1e-6)


@pytest.mark.parametrize("made", [Rodas4, Switching])
def test_a_wrong_jacobian_is_named_by_its_entry(made):
    z = numbers([3.0, 1.0])
    transposed = lambda t, z: jacobian(t, z).mT  # noqa: E731
    with pytest.raises(ParameterError, match=r"slope 0 by state 1 is 20000 in row 0 at t = 0, but given was 0"):
        integrate(field, z, START, START + 1.0, made(jacobian=transposed))
    with pytest.raises(ShapeError, match=r"of shape \(1, 2, 2\) \(jacobian\), but gives shape \(2, 2\)"):
        integrate(field, z, START, START + 1.0, made(jacobian=lambda t, z: jacobian(t, z)[0]))


def test_an_approximate_jacobian_costs_ros34pw2_no_order():
    logistic, z = (lambda t, z: z * (1 - z)), numbers([0.1, 0.6])
    exact = lambda t: z / (z + (1 - z) * torch.exp(-t)[:, None])  # noqa: E731
    constant = lambda t, z: -0.5 * torch.eye(2).double().expand(1, 2, 2)  # noqa: E731
    order, _ = convergence_order(Ros34PW2(jacobian=constant), logistic, z, START, START + 1.5, exact)
    assert 2.85 < order < 3.3
    lost, _ = convergence_order(Rodas4(jacobian=constant), logistic, z, START, START + 1.5, exact)
    assert lost < 2.5


@pytest.mark.parametrize("made", METHODS)
def test_a_singular_system_is_a_rejected_step(made):
    length = 1 / made.table.gamma  # of the first step, at which 1 - gamma h lambda is 0
    found = integrate(lambda t, z: z, numbers([1.0], [0.0]), numbers(0.0, 0.0), numbers(20.0, 20.0),
                      made(first_step=length))  # fmt: skip
    assert found.status.tolist() == [Status.OK, Status.OK]
    assert found.z[0].item() == pytest.approx(torch.e**20, rel=1e-3)


def test_following_an_input_at_a_high_rate_does_not_creep_at_tight_tolerances():
    behind = lambda t, z: -1e5 * (z - torch.cos(t)[:, None])  # noqa: E731
    found = integrate(behind, numbers([0.0]), START, START + 10.0, Rodas4(rtol=1e-10, atol=1e-12, max_steps=1000))
    assert found.status.item() == Status.OK
    # the state is that of the slow manifold: (cos t + sin t / rate) / (1 + 1 / rate^2)
    right = (torch.cos(START + 10) + torch.sin(START + 10) * 1e-5) / (1 + 1e-10)
    assert found.z.item() == pytest.approx(right.item(), rel=1e-9)

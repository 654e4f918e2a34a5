"""Rows that need many steps: they begin anew by themselves, stiff ones by another method, and no answer changes."""

import pytest
import torch

from tests.inference.known_examples import draws, lynx_hare, sir
from tsode.numerics import Dopri5, Rodas4
from tsode.numerics.scheduled_events import solve_scheduled


@pytest.fixture
def solves(monkeypatch):
    """Of each solve: its solver, and the status of its rows."""
    found = []

    def solve(*arguments, **named):
        solution = solve_scheduled(*arguments, **named)
        found.append((arguments[5], solution.status))
        return solution

    monkeypatch.setattr("tsode.inference.row_solve.solve_scheduled", solve)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("make", [sir, lynx_hare])
def test_rounds_change_no_state_by_more_than_the_tolerance(make, monkeypatch):
    u, times = draws(make(), 24, seed=1), torch.linspace(1.0, 20.0, 8, dtype=torch.float64)[None]

    def states(solver=None):
        found, status = make(solver=solver).trajectories(u, times)
        assert not status.any()
        return found

    exact = states(Dopri5(rtol=1e-9, atol=1e-11, max_steps=100_000))
    size = exact.abs().amax(dim=-2, keepdim=True)
    for few, more in ((10_000, 10), (150, 10), (40, 25)):
        monkeypatch.setattr("tsode.inference.stragglers._FEW_STEPS", few)
        monkeypatch.setattr("tsode.inference.stragglers._MORE", more)
        assert ((states(Dopri5(max_steps=20_000)) - exact).abs() <= 3e-4 * size).all()


@pytest.mark.slow
def test_only_those_that_are_not_through_begin_anew_and_stiff_ones_by_an_implicit_method(solves):
    density = sir()
    solves.clear()
    density.log_prob(draws(density, 32, seed=1))
    (first, outcome), *others = solves
    assert first.max_steps == 150
    stiff = [status for solver, status in others if isinstance(solver, Rodas4)]
    longer = [status for solver, status in others if isinstance(solver, Dopri5)]
    assert [len(status) for status in stiff] == [int((outcome == 7).sum())]
    assert [len(status) for status in longer] == [int((outcome == 1).sum())]
    assert not stiff[0].any()


@pytest.mark.slow
def test_a_points_answer_and_gradient_do_not_depend_on_the_stiff_ones_beside_it():
    density = sir()
    u = draws(density, 6, seed=1).requires_grad_()  # the first is stiff, the fourth is not
    value = density.log_prob(u)
    slope = torch.autograd.grad(value.where(value.isfinite(), 0.0).sum(), u)[0]
    for place in (0, 3):
        alone = u.detach()[:, place : place + 1].clone().requires_grad_()
        own = density.log_prob(alone)
        torch.testing.assert_close(own[:, 0], value[:, place], rtol=1e-12, atol=0)
        if own.isfinite().all():
            torch.testing.assert_close(
                torch.autograd.grad(own.sum(), alone)[0][:, 0], slope[:, place], rtol=1e-9, atol=1e-9
            )


@pytest.mark.slow
def test_a_hurried_density_is_the_same_where_nothing_is_stiff_and_impossible_elsewhere(solves):
    density = sir()
    u = draws(density, 32, seed=1)
    whole = density.log_prob(u)
    solves.clear()
    quick = density.hurried().log_prob(u)
    is_stiff = solves[0][1] == 7
    assert is_stiff.any()
    assert quick[0, is_stiff].isinf().all()
    assert torch.equal(quick[0, ~is_stiff], whole[0, ~is_stiff])

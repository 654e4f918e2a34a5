"""Roots of balances."""

from __future__ import annotations

import torch

from tsode.numerics.newton import find_root


def known(value):
    return value, torch.ones(len(value), dtype=torch.bool)


def test_a_linear_balance_is_solved_in_one_step_with_the_gradient_of_the_exact_root():
    matrix = torch.tensor([[-2.0, 0.5], [0.3, -1.0]], dtype=torch.float64, requires_grad=True)
    gain = torch.tensor([[1.0, 2.0], [0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    asked = []

    def balance(z):
        asked.append(z)
        return known(z @ matrix.T + gain)

    root, jacobian, is_found = find_root(balance, torch.zeros(2, 2, dtype=torch.float64), torch.ones(2).double())
    assert is_found.all()
    assert len(asked) <= 3  # the start, the root, and the root once more with a gradient
    exact = -torch.linalg.solve(matrix, gain.T).T
    torch.testing.assert_close(root, exact, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(jacobian, matrix.detach().expand(2, 2, 2))
    found = torch.autograd.grad(root.sum(), (matrix, gain))
    wanted = torch.autograd.grad(exact.sum(), (matrix, gain))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)


def test_a_step_that_is_too_long_is_halved():
    start = torch.tensor([[3.0], [-4.0]], dtype=torch.float64)  # where plain Newton steps of arctan run away
    root, _, is_found = find_root(lambda z: known(torch.arctan(z - 0.5)), start, torch.ones(2).double())
    assert is_found.all()
    torch.testing.assert_close(root, torch.full_like(root, 0.5), rtol=1e-9, atol=0.0)


def test_what_has_no_root_is_not_found_and_does_not_disturb_other_rows():
    gain = torch.tensor([[1.0], [1.0], [1.0]], dtype=torch.float64)
    decay = torch.tensor([[0.5], [0.0], [torch.nan]], dtype=torch.float64)
    root, _, is_found = find_root(
        lambda z: known(gain - decay * z), torch.zeros(3, 1, dtype=torch.float64), torch.ones(3).double()
    )
    assert is_found.tolist() == [True, False, False]
    torch.testing.assert_close(root[0], torch.tensor([2.0], dtype=torch.float64))


def test_a_state_in_balance_whatever_the_others_are_stays_as_it_is_and_hands_its_gradient_on():
    start = torch.tensor([[0.0, 4.0]], dtype=torch.float64, requires_grad=True)

    def balance(z):
        level, rate = z.unbind(-1)
        return known(torch.stack([1.0 - rate * level, 0 * rate], dim=-1))

    root, _, is_found = find_root(balance, start, torch.ones(1).double())
    assert is_found.all()
    torch.testing.assert_close(root, torch.tensor([[0.25, 4.0]], dtype=torch.float64))
    (slope,) = torch.autograd.grad(root[0, 0], start)
    torch.testing.assert_close(slope, torch.tensor([[0.0, -1 / 16]], dtype=torch.float64))

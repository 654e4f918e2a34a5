"""Affine fields are known as such, and no other field is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsode.numerics.affine_field import find_affine

MATRIX = torch.tensor([[-1.0, 0.2], [0.3, -0.1]], dtype=torch.float64)
RATE = torch.tensor([0.1, 0.2], dtype=torch.float64)
TIME, STATE = torch.zeros(2, dtype=torch.float64), torch.tensor([[0.5, 2.0], [1.0, 0.1]], dtype=torch.float64)


def absorbed(t, z):
    depot, drug = z.unbind(-1)
    return torch.stack([-1.2 * depot, 1.2 * depot - RATE * drug], dim=-1)


def filled_in_place(t, z):
    slope = torch.zeros_like(z)
    slope[:, 0] = -RATE * z[:, 0]
    slope[:, 1] += z[:, 0] / 3 - z[:, 1]
    return slope


def squared_in_place(t, z):
    slope = torch.zeros_like(z)
    slope[:, 0] = -RATE * z[:, 0] ** 2
    return slope


AFFINE = {
    "a rate": lambda t, z: -0.1 * z,
    "compartments": absorbed,
    "a matrix": lambda t, z: z @ MATRIX.T,
    "a sum of products": lambda t, z: torch.einsum("ij,bj->bi", MATRIX, z),
    "filled in place": filled_in_place,
    "production": lambda t, z: 3.0 - RATE[:, None] * z,
    "nothing": lambda t, z: torch.zeros_like(z),
}
OTHER = {
    "saturable": lambda t, z: -10.0 * z / (5.0 + z),
    "squared": lambda t, z: -z * z,
    "squared in place": squared_in_place,
    "cut off": lambda t, z: -z.clamp(min=0),
    "far threshold": lambda t, z: torch.where(z > 1e9, 0 * z, -z),
    "threshold seen by Python": lambda t, z: -z if z[0, 0] > -1e9 else z,
    "largest seen by Python": lambda t, z: -z * max(z[:, 0].tolist()),
    "threshold seen by numpy": lambda t, z: -z * (1.0 if (np.asarray(z.detach()) < 1e5).all() else 2.0),
    "rounded": lambda t, z: -torch.div(z, 0.5, rounding_mode="floor"),
    "rounded by its type": lambda t, z: -z.long().double(),
    "times": lambda t, z: -z * t[:, None],
    "driven": lambda t, z: -z + torch.sin(t)[:, None],
    "switched": lambda t, z: torch.where(t[:, None] > 1, 0 * z, -z),
    "switched by Python": lambda t, z: -z * (1.0 if t.detach().numpy()[0] < 5 else 2.0),
    "of a single precision": lambda t, z: -z.float(),
    "wrong": lambda t, z: 1 / 0,
}


@pytest.mark.parametrize("name", AFFINE)
def test_an_affine_field_is_known_and_gives_the_same_slopes(name):
    found = find_affine(AFFINE[name], TIME, STATE)
    assert found is not None
    for z in (STATE, -3 * STATE.flip(0) + 1):
        torch.testing.assert_close(found(TIME, z), AFFINE[name](TIME, z), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", OTHER)
def test_a_field_that_bends_switches_or_reads_the_time_anywhere_is_none(name):
    assert find_affine(OTHER[name], TIME, STATE) is None


def test_small_rates_beside_a_large_production_keep_all_their_digits():
    found = find_affine(lambda t, z: 1e9 - 1e-3 * z, TIME, STATE)
    assert found.matrix[0].tolist() == [[-1e-3, 0.0], [0.0, -1e-3]]


def test_gradients_go_through_what_the_field_holds():
    rate = torch.tensor([0.3, 0.4], dtype=torch.float64, requires_grad=True)
    found = find_affine(lambda t, z: 2.0 - rate[:, None] * z, TIME, STATE)
    gradient = torch.autograd.grad(found(TIME, STATE).sum(), rate)[0]
    torch.testing.assert_close(gradient, -STATE.sum(dim=1))


WITHOUT_OFFSET = ("a rate", "compartments", "a matrix", "a sum of products")


@pytest.mark.parametrize("name", AFFINE)
def test_only_a_field_that_is_linear_by_its_operations_has_no_offset(name):
    assert (find_affine(AFFINE[name], TIME, STATE).offset is None) == (name in WITHOUT_OFFSET)


OFFSETS = {
    "a number": lambda t, z: 0.0 - z,
    "a number that is zero now": lambda t, z: 0.0 * RATE[:, None] - z,
    "a constant beside": lambda t, z: torch.stack([RATE, -z[:, 1]], dim=-1),
    "a constant under what is filled in": lambda t, z: torch.ones_like(z).index_copy(1, torch.tensor([0]), z[:, :1]),
    "a view of constants": lambda t, z: torch.ones_like(z).T.mul_(torch.ones(1)).T + z,
    "a sum of products": lambda t, z: torch.addmm(RATE, z, MATRIX),
}


@pytest.mark.parametrize("name", OFFSETS)
def test_what_may_be_an_offset_is_never_left_out(name):
    found = find_affine(OFFSETS[name], TIME, STATE)
    assert found is None or found.offset is not None


def test_an_input_on_top_of_a_linear_field_is_its_offset():
    found = find_affine(AFFINE["a rate"], TIME, STATE).plus(torch.ones_like(STATE))
    torch.testing.assert_close(found(TIME, STATE), 1.0 - 0.1 * STATE)

"""Exact flow of affine fields against scipy's matrix exponential and closed forms."""

from __future__ import annotations

import math
import time

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.linalg import expm

from tsode import solve
from tsode.core.status import Status
from tsode.numerics.affine_field import AffineField
from tsode.numerics.affine_flow import AffineFlow
from tsode.numerics.integrate import integrate, integrate_to


def example(b=40, d=3):
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)  # noqa: E731
    return AffineField(draw(b, d, d) - 2 * torch.eye(d), draw(b, d)), draw(b, d), draw(b).abs()


def test_the_flow_is_that_of_the_matrix_exponential():
    field, z, span = example()
    found = integrate(field, z, 0 * span, span, AffineFlow()).z
    for k in range(len(z)):
        block = np.zeros((4, 4))
        block[:3, :3], block[:3, 3] = field.matrix[k], field.offset[k]
        truth = (expm(float(span[k]) * block) @ [*z[k].tolist(), 1.0])[:3]
        np.testing.assert_allclose(found[k], truth, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("d", [1, 2])
def test_the_flow_of_a_linear_field_is_that_of_the_exponential_of_its_matrix(d):
    field, z, span = example(d=d)
    found = integrate(AffineField(field.matrix, None), z, 0 * span, span, AffineFlow()).z
    for k in range(len(z)):
        truth = expm(float(span[k]) * field.matrix[k].numpy()) @ z[k].numpy()
        np.testing.assert_allclose(found[k], truth, rtol=1e-12, atol=1e-13)


def test_an_answer_does_not_depend_on_the_others_to_the_bit():
    field, z, span = example()
    times = span[:, None] * torch.linspace(0, 3, 50, dtype=torch.float64)
    many = integrate_to(field, z, 0 * span, times, AffineFlow()).z
    for columns in ([7], [3, 40], [49, 0, 12]):
        assert (integrate_to(field, z, 0 * span, times[:, columns], AffineFlow()).z == many[:, columns]).all()
    one = AffineField(field.matrix[5:6], field.offset[5:6])
    assert (integrate_to(one, z[5:6], 0 * span[5:6], times[5:6], AffineFlow()).z == many[5:6]).all()
    assert (many[:, 0] == z).all()  # a time of no length is the state itself


def test_a_row_that_grows_beyond_all_numbers_says_so_and_stays():
    field = AffineField(torch.tensor([[[1.0]], [[-1.0]]]).double(), torch.zeros(2, 1).double())
    start = torch.zeros(2).double()
    found = integrate(field, torch.ones(2, 1).double(), start, start + 1e4, AffineFlow())
    assert found.status.tolist() == [Status.NON_FINITE, Status.OK]
    assert found.z.tolist() == [[1.0], [0.0]]


@pytest.mark.slow
def test_a_stiff_absorption_in_steady_state_and_thousands_of_doses_are_exact_and_soon_done():
    ka, k = 500.0, 0.1

    def field(t, z):
        depot, drug = z.unbind(-1)
        return torch.stack([-ka * depot, ka * depot - k * drug], dim=-1)

    steady = pd.DataFrame({"ds": [0.0], "amount": [100.0], "every": [24.0], "steady_state": [1]})
    doses = pd.DataFrame({"ds": [0.0], "amount": [100.0], "every": [24.0], "n_more": [1999]})
    truth = 100 * ka / (ka - k) * (1 / (1 - np.exp(-24 * k)) - 1 / (1 - np.exp(-24 * ka)))
    begin = time.process_time()
    for events, at in ((steady, 0.0), (doses, 48_000.0)):
        found = solve(field, {"depot": 0.0, "drug": 0.0}, [at], events=events, side="after")["drug"].item()
        np.testing.assert_allclose(found, truth, rtol=1e-10)
    assert time.process_time() - begin < 5.0  # twice what it takes; by steps it takes minutes


@pytest.mark.parametrize("size", [1e30, 1e308])
def test_a_matrix_beyond_all_meaning_is_a_status_and_costs_the_other_rows_nothing(size):
    matrix = torch.tensor([[[-1.0]], [[size]], [[-size]]], dtype=torch.float64)
    field = AffineField(matrix, torch.zeros(3, 1, dtype=torch.float64))
    t0, z = torch.zeros(3, dtype=torch.float64), torch.ones(3, 1, dtype=torch.float64)
    found = AffineFlow().solve(field, z, t0, t0 + 10.0, "backprop")
    assert found.status.tolist() == [Status.OK, Status.NON_FINITE, Status.NON_FINITE]
    assert found.z[0, 0].item() == pytest.approx(math.exp(-10.0), rel=1e-12)
    assert found.z[1:].tolist() == [[1.0], [1.0]]

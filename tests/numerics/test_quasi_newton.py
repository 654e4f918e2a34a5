"""Searches of many small problems at once: where they end, and that they do."""

from __future__ import annotations

import torch

from tsode.numerics.quasi_newton import PATIENCE, minimise


def valleys(points, places):
    """Rosenbrock's valley, and a slope that falls for ever by less and less."""
    with torch.enable_grad():
        at = points.detach().requires_grad_()
        x, y = at.unbind(dim=1)
        value = torch.where(places == 0, (1 - x) ** 2 + 100 * (y - x**2) ** 2, 1e-6 * (-x).exp())
        (slope,) = torch.autograd.grad(value.sum(), at)
    return value.detach(), slope


def test_a_search_that_brings_nothing_ends_undone_and_one_beside_it_goes_its_way():
    n_calls = {0: 0, 1: 0}

    def counted(points, places):
        for place in places.tolist():
            n_calls[place] += 1
        return valleys(points, places)

    start = torch.tensor([[-1.2, 1.0], [0.0, 0.0]], dtype=torch.float64)
    point, value, is_done = minimise(counted, start, tolerance=1e-14, least_gain=1e-3)
    assert is_done.tolist() == [True, False]
    assert n_calls[1] <= PATIENCE + 1
    torch.testing.assert_close(point[0], torch.ones(2, dtype=torch.float64), rtol=0.0, atol=1e-6)
    alone = minimise(valleys, start[:1], tolerance=1e-14, least_gain=1e-3)
    assert torch.equal(point[0], alone[0][0])
    assert torch.equal(value[0], alone[1][0])
